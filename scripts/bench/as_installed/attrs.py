"""Hides the package of this name, which only test tools bring: quart-schema would load 0.8 MB."""

raise ImportError("attrs is hidden, since an installed server does not have it")
