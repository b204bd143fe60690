"""What networks learn: data in three parts, what goes in and out, the loss, and the number that counts."""
