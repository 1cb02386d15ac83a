"""A client of a few lines, of the standard library alone."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request

URL = os.environ.get("AUDITOR_URL", "http://127.0.0.1:8641")
TOKEN = os.environ.get("AUDITOR_TOKEN")


class Refused(Exception):
    """A problem (RFC 9457): `code` is for programs, `detail` for people."""

    def __init__(self, status, problem):
        super().__init__(f"{status}: {problem.get('detail')}")
        self.status, self.problem, self.code = status, problem, problem.get("code")


class Entity:
    """One user. Every call carries that user's id, and no call exists without one."""

    def __init__(self, user):
        self.path = "/api/v1/users/" + urllib.parse.quote(user, safe="")

    def ask(self, method, path, body=None, **parameters):
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        request = urllib.request.Request(URL + self.path + path + query, method=method)
        if TOKEN:
            request.add_header("Authorization", f"Bearer {TOKEN}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            try:
                problem = json.load(refusal)
            except ValueError:
                problem = {"detail": "a proxy answered, not the auditor"}
            raise Refused(refusal.code, problem) from None

    def initiate_connection(self, app, redirect_url):
        return self.ask("POST", "/connections", {"toolkit": app, "redirect_url": redirect_url})

    def connections(self, max_age="5m"):
        return self.ask("GET", "/connections", max_age=max_age)

    def gate(self, *apps, max_age="5m", on_unknown="deny"):
        return self.ask("GET", "/gate", toolkits=",".join(apps), max_age=max_age, on_unknown=on_unknown)

    def execute(self, tool, arguments):
        return self.ask("POST", f"/tools/{urllib.parse.quote(tool, safe='')}/execute", {"arguments": arguments})

    def report(self, app):
        return self.ask("POST", f"/connections/{urllib.parse.quote(app, safe='')}/report")
