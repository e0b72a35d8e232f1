"""What migrations do to real databases and to the code that serves meanwhile, compared with the verdicts."""
