"""Where the time goes, before anything is changed."""
