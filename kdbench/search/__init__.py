"""The search: spaces, searcher, scheduler, launch."""
