"""langbert for LangChain."""
