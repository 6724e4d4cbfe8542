"""Looks before anything is touched: facts as a checklist, each with its way out."""
