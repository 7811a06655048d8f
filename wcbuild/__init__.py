"""Build container images from Dockerfiles: no daemon, no root, no other container tool."""
