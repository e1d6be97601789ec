"""Questions asked of a corpus once, with all that search, reranker and reader say, kept on disk for fitting."""
