"""The Admin API: keys, workspaces, limits and the organization, for keys with the scope `admin`.

Making a key over HTTP is renga's own; all else is the API's, in its shapes.
"""
