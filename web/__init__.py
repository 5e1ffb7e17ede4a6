"""The site: the composition root. It joins the registry and the search service, and holds no rules of its own."""
