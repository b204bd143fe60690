"""One offline HTML page, and the plots, from any result."""
