"""For authors of entries: tiny models, drafts built around them, and the laws that every instruction must keep."""
