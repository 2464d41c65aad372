"""Jobs: their record, their queue and their history, all in Redis."""
