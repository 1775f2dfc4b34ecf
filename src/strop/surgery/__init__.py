"""Finding, counting, replacing and folding modules of a draft's model. Needs torch; knows no instruction."""
