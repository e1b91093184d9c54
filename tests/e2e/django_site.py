"""A Django site with its own login, sessions and CSRF protection. A process can have one only."""

import logging
from pathlib import Path
from typing import Any

USER, PASSWORD = "me", 'canary-django p&ss"word'


class Site:
    """`received` holds each request for /orders as it arrived, `logins` counts those to the login page."""

    def __init__(self, folder: Path) -> None:
        import django
        from django.conf import settings

        settings.configure(
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "site.sqlite3")}},
            INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
            MIDDLEWARE=[
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
            ],
            ROOT_URLCONF=__name__ + "_urls",
            SECRET_KEY="only for a test",
            ALLOWED_HOSTS=["*"],
            PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
            TEMPLATES=[
                {
                    "BACKEND": "django.template.backends.django.DjangoTemplates",
                    "OPTIONS": {
                        "loaders": [
                            (
                                "django.template.loaders.locmem.Loader",
                                {"registration/login.html": "<form>log in</form>"},
                            )
                        ]
                    },
                }
            ],
            LOGGING_CONFIG=None,
            USE_TZ=True,
        )
        django.setup()
        logging.getLogger("django").setLevel(logging.CRITICAL)
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.core.wsgi import get_wsgi_application

        call_command("migrate", verbosity=0)
        User.objects.create_user(USER, password=PASSWORD)
        self.app: Any = get_wsgi_application()

    @property
    def received(self) -> list[str]:
        """The requests for /orders."""
        from tests.e2e import django_site_urls

        return django_site_urls.received

    @property
    def logins(self) -> list[str]:
        """The methods of the requests to the login page."""
        from tests.e2e import django_site_urls

        return django_site_urls.logins

    def end_sessions(self) -> None:
        """Log everybody out."""
        from django.contrib.sessions.models import Session

        Session.objects.all().delete()
