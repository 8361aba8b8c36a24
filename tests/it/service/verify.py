"""A platform that judges passback's requests with oauthlib, PyJWT and Python's own libraries: no code of passback's.

It prints its URL. A request that it does not accept is answered with 403 and the reason on standard error.
"""

import base64
import hashlib
import json
import sys
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from oauthlib.oauth1 import RequestValidator, SignatureOnlyEndpoint

KEY, SECRET = "consumer key/1", "s&cret=ü"
TOKEN = "token-of-the-python-platform"
SCORE_SCOPE = "https://purl.imsglobal.org/spec/lti-ags/scope/score"
DEPLOYMENT = "https://purl.imsglobal.org/spec/lti/claim/deployment_id"
NAMESPACE = {"p": "http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0"}


class Keys(RequestValidator):
    enforce_ssl = False
    dummy_client = "dummy"

    def check_client_key(self, client_key):
        return bool(client_key)

    def check_nonce(self, nonce):
        return len(nonce) >= 16

    def validate_client_key(self, client_key, request):
        return client_key == KEY

    def get_client_secret(self, client_key, request):
        return SECRET

    def validate_timestamp_and_nonce(self, client_key, timestamp, nonce, request, request_token=None, access_token=None):
        return True


ENDPOINT = SignatureOnlyEndpoint(Keys())


class Platform(BaseHTTPRequestHandler):
    seen = {}
    jwks_url = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.answer(200, json.dumps(Platform.seen))

    def do_PUT(self):
        Platform.jwks_url = self.body().decode()
        self.answer(200, "{}")

    def do_POST(self):
        path = urllib.parse.urlparse(self.path).path
        try:
            judge = {
                "/outcomes": self.outcomes,
                "/delegated": self.delegated,
                "/token": self.token,
                "/lineitem/scores": self.scores,
            }[path]
            self.answer(200, judge(self.body()))
        except Exception as wrong:
            print(f"{path}: {wrong!r}", file=sys.stderr)
            self.answer(403, "refused")

    def outcomes(self, body):
        assert self.headers["Content-Type"] == "application/xml", self.headers["Content-Type"]
        url = self.server.url + self.path
        valid, request = ENDPOINT.validate_request(url, "POST", None, {"Authorization": self.headers["Authorization"]})
        assert valid, request.validator_log if request else "no OAuth request"
        digest = base64.b64encode(hashlib.sha1(body).digest()).decode()
        assert dict(request.oauth_params).get("oauth_body_hash", digest) == digest, "body hash"
        assert f'oauth_body_hash="{urllib.parse.quote(digest, safe="")}"' in self.headers["Authorization"], "body hash"
        record = ElementTree.fromstring(body).find(".//p:resultRecord", NAMESPACE)
        Platform.seen["lti11"] = {
            "sourcedid": record.find("p:sourcedGUID/p:sourcedId", NAMESPACE).text,
            "score": record.find("p:result/p:resultScore/p:textString", NAMESPACE).text,
        }
        return "<r><imsx_codeMajor>success</imsx_codeMajor></r>"

    def delegated(self, body):
        scheme, encoded = self.headers["Authorization"].split(" ")
        assert scheme == "Basic" and base64.b64decode(encoded).decode() == f"{KEY}:{SECRET}", "Basic"
        document = json.loads(body)
        assert document["oauth_consumer_key"] == KEY, "key"
        assert not {"lti_version", "grade_passback_url"} & document.keys(), "members that stay at home"
        Platform.seen["delegated"] = document
        return "{}"

    def token(self, body):
        assert self.headers["Content-Type"] == "application/x-www-form-urlencoded"
        form = dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True))
        assert form["grant_type"] == "client_credentials", form
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", form
        assert form["scope"] == SCORE_SCOPE, form
        assertion = form["client_assertion"]
        kid = jwt.get_unverified_header(assertion)["kid"]
        keys = json.load(urllib.request.urlopen(Platform.jwks_url, timeout=5))["keys"]
        key = next(jwt.PyJWK(key) for key in keys if key["kid"] == kid)
        claims = jwt.decode(
            assertion,
            key,
            algorithms=["RS256"],
            audience=self.server.url + "/token",
            issuer="tool-1",
            options={"require": ["iss", "sub", "aud", "iat", "exp", "jti"]},
        )
        assert isinstance(claims["aud"], str) and claims["sub"] == "tool-1" and claims[DEPLOYMENT] == "7", claims
        assert 0 < claims["exp"] - claims["iat"] <= 305, claims
        return json.dumps({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600, "scope": SCORE_SCOPE})

    def scores(self, body):
        assert self.headers["Authorization"] == f"Bearer {TOKEN}", "token"
        assert self.headers["Content-Type"] == "application/vnd.ims.lis.v1.score+json", self.headers["Content-Type"]
        assert urllib.parse.urlparse(self.path).query == "type_id=1", self.path
        assert b"\n" not in body, "one line"
        Platform.seen["ags"] = json.loads(body)
        return ""

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


server = ThreadingHTTPServer(("127.0.0.1", 0), Platform)
server.url = f"http://127.0.0.1:{server.server_port}"
print(server.url, flush=True)
server.serve_forever()
