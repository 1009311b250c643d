from gevent import monkey; monkey.patch_all()  # noqa: E702, I001 - before anything imports ssl, socket or threading

# What a WSGI server loads; gunicorn.conf.py says how it is run.

from app import create_app  # noqa: E402

application = create_app()
