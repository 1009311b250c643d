"""What Claude may do besides talking: the site's own tools over HTTP, and a few that every site has."""
