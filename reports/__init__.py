"""Records in; tables and figures out.

Everything here reads a `reports.view.RunView`, which nobody changes.
"""
