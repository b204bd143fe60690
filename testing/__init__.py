"""Contracts of everything that a new file or a package of somebody else may bring, as tests for pytest.

One class a kind; a subclass names the entries of the registry that it is about, and pytest does the rest::

    from tempograd.testing.spaces import SpaceContract

    class TestMySpace(SpaceContract):
        names = ("my_space",)

=======================  ===================
``testing.spaces``       ``SpaceContract``
``testing.devices``      ``DeviceContract``
``testing.runtimes``     ``RuntimeContract``
``testing.models``       ``ModelContract``
``testing.laws``         ``LawContract``
``testing.methods``      ``MethodContract``
``testing.tasks``        ``TaskContract``
=======================  ===================

The project's own tests are these same classes over the names of its folders. Only this package imports pytest, which
``pip install 'tempograd[test]'`` brings.
"""

import pytest

_KINDS = ("devices", "laws", "methods", "models", "runtimes", "spaces", "tasks")
pytest.register_assert_rewrite(*(f"{__name__}.{kind}" for kind in _KINDS))
