"""Files: what comes from elsewhere is read as data, what is written appears whole or not at all."""
