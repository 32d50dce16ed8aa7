#!/usr/bin/env python3
"""A nightly batch job without a key: its pod's identity, ten minutes at a time.

Three calls, each to one place that a policy can name:
1. the metadata server gives a token for the job's own Google account, which may do nothing but call 2;
2. the IAM Credentials API turns it into a token of the account that may read the bucket, for LIFETIME seconds;
3. Cloud Storage lists the bucket with that token.

No token is written anywhere, and none outlives the run by more than LIFETIME. Only the standard library is used.
"""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

METADATA = os.environ.get("GCE_METADATA_HOST", "169.254.169.254")
IAM = os.environ.get("IAM_CREDENTIALS_URL", "https://iamcredentials.googleapis.com")
STORAGE = os.environ.get("STORAGE_URL", "https://storage.googleapis.com")
TARGET = os.environ["TARGET_SERVICE_ACCOUNT"]
BUCKET = os.environ["BUCKET"]
LIFETIME = 600
SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
TIMEOUT = 10

# A proxy of the environment must not see a token, and the metadata server is never behind one.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url, headers, body=None):
    """The JSON that a server answers with. Raises urllib.error.URLError where it refuses or is not there."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={**headers, "Content-Type": "application/json"})
    with OPENER.open(request, timeout=TIMEOUT) as answer:
        return json.load(answer)


def own_token():
    """A token of the account that the pod's service account is bound to."""
    url = f"http://{METADATA}/computeMetadata/v1/instance/service-accounts/default/token"
    return ask(url, {"Metadata-Flavor": "Google"})["access_token"]


def impersonated_token(token):
    """A token of TARGET that ends by itself and may read objects alone."""
    account = urllib.parse.quote(TARGET, safe="@")
    url = f"{IAM}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    answer = ask(url, {"Authorization": f"Bearer {token}"}, {"scope": [SCOPE], "lifetime": f"{LIFETIME}s"})
    return answer["accessToken"]


def list_objects(token):
    """Names of the bucket's objects, page by page."""
    page = None
    while True:
        query = urllib.parse.urlencode({"fields": "items(name),nextPageToken", **({"pageToken": page} if page else {})})
        url = f"{STORAGE}/storage/v1/b/{urllib.parse.quote(BUCKET, safe='')}/o?{query}"
        answer = ask(url, {"Authorization": f"Bearer {token}"})
        yield from (item["name"] for item in answer.get("items", []))
        page = answer.get("nextPageToken")
        if not page:
            return


def main():
    try:
        count = sum(1 for _ in list_objects(impersonated_token(own_token())))
    except urllib.error.HTTPError as error:
        # The body may repeat what was sent.
        print(f"refused: {error.code} by {urllib.parse.urlsplit(error.url).hostname}", file=sys.stderr)
        return 1
    except urllib.error.URLError as error:
        print(f"not reached: {error.reason}", file=sys.stderr)
        return 1
    print(f"{count} objects in {BUCKET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
