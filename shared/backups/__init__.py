"""A whole service in one file: the records in Redis and the files of the artifact store."""
