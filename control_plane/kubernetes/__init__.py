"""What the gateway reads from a Kubernetes API server, and the little that it writes there.

    watched.py      pure   which objects are listed and watched
    list_watch.py   pure   the list/watch state machine: pages, bookmarks, 410, back-off
    parsing.py      pure   raw JSON of the API -> frozen values
    cluster.py      pure   what is known of all watched objects, and the endpoints that follow from it
    tls_secrets.py  pure   certificates of Secrets; a pair that cannot work never replaces one that does
    problems.py     pure   which problems are due to be reported to the cluster
    api.py                 what of an API server is needed, as a protocol
    connection.py          HTTP and credentials, by the official client
    watcher.py             runs one list/watch; discovery.py runs all that a configuration needs
    config_map.py          a ConfigMap as files
    election.py            which replica writes
    events.py              problems as Kubernetes Events
    attached.py            all of this as the control plane's process uses it

Errors: a request that fails is a `Failure` value, shown in status and tried again with back-off. Credentials that
cannot be read raise `CredentialsError` at start-up. Nothing here ever stops the gateway from serving what it knows.
"""
