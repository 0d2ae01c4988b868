"""Faults of `transform`: one case a rule, each at its line, with what is allowed."""

import pytest

from control_plane.config.effective import effective_routes
from control_plane.config.loading import load
from control_plane.translate.policies import processing_policy
from policy.processing import compile_policy
from tests.unit.control_plane.config.documents import MemoryFiles, route

AUTH = "auth: {any_of: [jwt.main]}"
PROXY = f"match: {{path_prefix: /x}}, service: users, {AUTH}"


def request(text: str) -> str:
    return f"{PROXY}, transform: {{request: {{{text}}}}}"


def response(text: str) -> str:
    return f"{PROXY}, transform: {{response: {{{text}}}}}"


CASES = {
    "variable_unknown": (
        request('headers: {set: {x-a: "{clame:sub}"}}'),
        "transform.request.headers.set.x-a: {clame:sub} is not known here (did you mean {claim:NAME}?; "
        "{{clame:sub}} is the text itself)",
    ),
    "variable_without_name": (
        request('query: {set: {a: "{claim:}"}}'),
        "transform.request.query.set.a: {claim:} lacks a name ({claim:NAME})",
    ),
    "path_parameter_unknown": (
        f'{PROXY}, transform: {{path_parameters: "/x/{{user}}", request: {{path: "/v2/{{path:usr}}"}}}}',
        "transform.request.path: {path:usr} is not a parameter of the path (did you mean user?)",
    ),
    "path_parameters_missing": (
        request('path: "/v2/{path:id}"'),
        "transform.request.path: {path:id} is not a parameter of the path (path_parameters: /api/users/{id})",
    ),
    "path_parameters_twice": (
        f'{PROXY}, transform: {{path_parameters: "/x/{{a}}/{{a}}", request: {{path: /y}}}}',
        "transform.path_parameters: '{a}' is there twice",
    ),
    "path_parameters_side_by_side": (
        f'{PROXY}, transform: {{path_parameters: "/x/{{a}}{{b}}"}}',
        "transform.path_parameters: '{a}' has to be separated from what follows it",
    ),
    "path_parameters_rest_inside": (
        f'{PROXY}, transform: {{path_parameters: "/x/{{a*}}/y"}}',
        "transform.path_parameters: '{a*}' has to be the last segment",
    ),
    "path_with_query": (
        request("path: '/v2?a=1'"),
        "transform.request.path: '/v2?a=1' is not a path (/v2/users/{path:id}; the query stays, `query` changes it)",
    ),
    "path_beside_rewrite": (
        f"{PROXY}, rewrite: {{path: /y}}, transform: {{request: {{path: /z}}}}",
        "transform.request.path: route 'r' has a rewrite of the path too (one of the two)",
    ),
    "claim_on_a_public_route": (
        "match: {path_prefix: /x}, service: users, auth: none, rate_limits: none, "
        'transform: {request: {headers: {set: {x-a: "{claim:sub}"}}}}',
        "transform.request.headers.set.x-a: {claim:sub} has no value on a public route (route 'r')",
    ),
    "claim_with_a_public_cache": (
        f'{PROXY}, cache: {{scope: public}}, transform: {{request: {{query: {{set: {{a: "{{claim:sub}}"}}}}}}}}',
        "transform.request.query.set.a: {claim:sub} differs from caller to caller, and the cache's scope is public; "
        "scope: user, or no cache (route 'r')",
    ),
    "request_id_in_what_is_stored": (
        f'{PROXY}, cache: {{}}, transform: {{response: {{headers: {{set: {{x-a: "{{request_id}}"}}}}}}}}',
        "transform.response.headers.set.x-a: {request_id} would be that of another request on a hit; leave it out, or "
        "no cache (route 'r')",
    ),
    "own_header": (
        request("headers: {rename: {x-a: X-Envoy-Foo}}"),
        "transform.request.headers.rename.x-a: 'X-Envoy-Foo' is the gateway's own "
        "(any header but x-envoy-* and x-gateway-*)",
    ),
    "pseudo_header": (
        request("headers: {set: {':method': GET}}"),
        "transform.request.headers.set[\":method\"]: ':method' is not a header name (letters, digits, -, _)",
    ),
    "framing_header": (
        response("headers: {remove: [Content-Length]}"),
        "transform.response.headers.remove[0]: 'Content-Length' belongs to the connection, not to the message "
        "(any other header)",
    ),
    "step_unknown": (
        response("body: [{type: redakt, fields: [a]}]"),
        "transform.response.body[0].type: 'redakt' is not allowed (set, remove, rename, redact, json_patch, "
        "merge_patch, convert, graphql; did you mean redact?)",
    ),
    "step_without_type": (
        response("body: [{fields: [a]}]"),
        "transform.response.body[0].type: is missing",
    ),
    "step_with_an_unknown_key": (
        response("body: [{type: redact, fields: [a], with: x}]"),
        "transform.response.body[0].with: unknown key (allowed: type, fields)",
    ),
    "json_path": (
        request("body: [{type: remove, fields: ['$.a[']}]"),
        "transform.request.body[0].fields[0]: '$.a[' is not a JSONPath: unexpected end of query "
        "($.user.name, $..password, $.items[*].id)",
    ),
    "set_without_json_path": (
        request("body: [{type: set, fields: {name: 1}}]"),
        "transform.request.body[0].fields.name: 'name' is not a JSONPath ($.name)",
    ),
    "set_of_everything": (
        request("body: [{type: set, fields: {$: 1}}]"),
        "transform.request.body[0].fields.$: '$' is the whole document (a member: $.name)",
    ),
    "template_in_a_value": (
        request("body: [{type: set, fields: {$.a: [{b: '{nope:x}'}]}}]"),
        'transform.request.body[0].fields["$.a"]: {nope:x} is not known here ({request_id}, {route}, {claim:NAME}, '
        "{header:NAME}, {path:NAME}, {query:NAME}; {{nope:x}} is the text itself)",
    ),
    "patch_without_value": (
        request("body: [{type: json_patch, operations: [{op: add, path: /a}]}]"),
        "transform.request.body[0].operations[0]: add /a: value is missing",
    ),
    "patch_into_itself": (
        request("body: [{type: json_patch, operations: [{op: move, from: /a, path: /a/b}]}]"),
        "transform.request.body[0].operations[0]: move /a/b: lies inside of what is moved",
    ),
    "patch_operation": (
        request("body: [{type: json_patch, operations: [{op: replce, path: /a, value: 1}]}]"),
        "transform.request.body[0].operations[0].op: 'replce' is not allowed (add, remove, replace, move, copy, test; "
        "did you mean replace?)",
    ),
    "convert_to_two": (
        request("body: [{type: convert, to: [json, xml]}]"),
        "transform.request.body[0].to: a request is converted to one format, the one that the service wants (json)",
    ),
    "convert_to_yaml": (
        response("body: [{type: convert, to: [yaml]}]"),
        "transform.response.body[0].to[0]: 'yaml' is not allowed (json, xml, csv)",
    ),
    "xml_root": (
        response("body: [{type: convert, to: xml, xml_root: 'a b'}]"),
        "transform.response.body[0].xml_root: 'a b' cannot be the name of an element "
        "(letters, digits, - _ .; not xml...)",
    ),
    "graphql_without_query": (
        request("body: [{type: graphql, envelope: wrap}]"),
        "transform.request.body[0]: lacks a query (query: 'query ($id: ID!) { user(id: $id) { name } }')",
    ),
    "graphql_query_in_a_response": (
        response("body: [{type: graphql, envelope: wrap, field: a, query: b}]"),
        "transform.response.body[0].query: belongs to a request that is wrapped (envelope: wrap)",
    ),
    "graphql_without_field": (
        response("body: [{type: graphql, envelope: wrap}]"),
        "transform.response.body[0]: lacks a field (the member of data that the body becomes)",
    ),
    "max_body": (
        f"{PROXY}, transform: {{max_body: 33MiB}}",
        "transform.max_body: is not a size of a body (1B to 32MiB)",
    ),
    "on_unreadable": (
        f"{PROXY}, transform: {{on_unreadable: passs}}",
        "transform.on_unreadable: 'passs' is not allowed (block, pass; did you mean pass?)",
    ),
    "unknown_key": (
        f"{PROXY}, transform: {{request: {{header: {{}}}}}}",
        "transform.request.header: unknown key (did you mean headers?)",
    ),
    "query_of_a_response": (
        response("query: {remove: [a]}"),
        "transform.response.query: unknown key (allowed: validate, headers, body)",
    ),
    "stream": (
        f"{PROXY}, timeout: 0s, transform: {{request: {{body: [{{type: remove, fields: [a]}}]}}}}",
        "transform.request.body: streams' bodies are never transformed, and timeout is 0s "
        "(a timeout, or headers alone)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_faults_name_the_key_and_what_is_allowed(case: str) -> None:
    """One fault for one mistake."""
    text, expected = CASES[case]

    assert [expected] == route(text)


DOCUMENT = """
openapi: 3.0.3
info: {title: t, version: "1"}
paths:
  /a/{id}:
    get:
      parameters: [{name: id, in: paht, schema: {type: integer}}]
      responses:
        "200": {content: {application/json: {schema: {$ref: "#/components/schemas/Nope"}}}}
"""
MAIN = """version: 1
name: edge
listeners: [{name: public, port: 10000}]
services: {users: {endpoints: [{address: 127.0.0.1, port: 1}]}}
defaults: {auth: none, rate_limits: none}
routes:
  - name: a
    service: users
    transform:
      request:
        validate: {openapi: shop.yaml}
"""


def test_a_document_is_judged_at_its_own_lines() -> None:
    """References first, since nothing else can be said while they lead nowhere."""
    nowhere = load("conf/gateway.yaml", MemoryFiles({"conf/gateway.yaml": MAIN, "conf/shop.yaml": DOCUMENT}), {})
    good = DOCUMENT.replace('{$ref: "#/components/schemas/Nope"}', "{type: strin}")
    wrong = load("conf/gateway.yaml", MemoryFiles({"conf/gateway.yaml": MAIN, "conf/shop.yaml": good}), {})

    assert [
        "conf/shop.yaml:9:61: paths./a/{id}.get.responses.200.content.application/json.schema.$ref: "
        "'#/components/schemas/Nope' leads nowhere"
    ] == [str(fault) for fault in nowhere.faults]
    assert ["conf/shop.yaml:7", "conf/shop.yaml:9"] == [":".join(str(fault).split(":")[:2]) for fault in wrong.faults]
    assert "conf/shop.yaml" in wrong.sources


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (None, "conf/gateway.yaml:11:29: routes[0].transform.request.validate.openapi: cannot read conf/shop.yaml"),
        ("swagger: '2.0'", "conf/shop.yaml:1:1: is not an OpenAPI 3 document"),
        ("openapi: 3.0.3\npaths: {}", "conf/shop.yaml:2:1: paths: has no operations"),
        ("a: [", "conf/shop.yaml:2:1: is not YAML"),
    ],
)
def test_a_document_that_cannot_be_used_is_a_fault(document: str | None, told: str) -> None:
    """Missing, of another kind, empty, or no YAML."""
    files = {"conf/gateway.yaml": MAIN} | ({"conf/shop.yaml": document} if document is not None else {})
    loaded = load("conf/gateway.yaml", MemoryFiles(files), {})

    assert loaded.gateway is None
    assert told in str(loaded.faults[0])


def test_what_the_rules_let_pass_compiles() -> None:
    """Everything at once; ext_proc would NACK a policy that does not."""
    text = """
    cache: {scope: user}
    transform:
      path_parameters: /x/{id}/{rest*}
      max_body: 2MiB
      on_unreadable: pass
      request:
        validate: {openapi: shop.yaml, base_path: /api, undocumented: pass}
        path: "/v2/{path:id}/{path:rest}"
        query: {rename: {a: b}, remove: [c], set: {d: "{query:e}"}, add: {f: "1"}}
        headers: {rename: {X-A: X-B}, remove: [x-c], set: {X-D: "{claim:org.unit}"}, add: {x-e: "{route} {{route}}"}}
        body:
          - {type: set, fields: {$.a.b: {c: [1, null, true, "{claim:sub}", 2.5]}, "$.l[*].x": 1}}
          - {type: remove, fields: [d, "$.e[?@.f]"]}
          - {type: rename, fields: {g: h}}
          - {type: redact, fields: [i, "*.j"]}
          - {type: json_patch, operations: [{op: test, path: /k, value: null}, {op: copy, from: /k, path: /l}]}
          - {type: merge_patch, patch: {m: null, n: {o: "010"}}}
          - {type: convert, to: json}
          - {type: graphql, envelope: wrap, query: "{ a }", variables: {id: "{path:id}"}}
      response:
        validate: {openapi: shop.yaml}
        headers: {set: {x-f: "{header:X-G}"}}
        body: [{type: graphql, envelope: unwrap, field: a}, {type: convert, to: [xml, csv], csv_formulas: true}]
"""
    good = DOCUMENT.replace('{$ref: "#/components/schemas/Nope"}', "{}").replace("paht", "path, required: true")
    main = MAIN.replace("auth: none", "auth: {any_of: [jwt.main]}").partition("    transform:")[0] + text
    main += "auth: {jwt: {main: {issuer: i, algorithms: [HS256], secret: '01234567890123456789012345678901'}}}\n"
    loaded = load("gateway.yaml", MemoryFiles({"gateway.yaml": main, "shop.yaml": good}), {})
    assert loaded.gateway is not None, [str(fault) for fault in loaded.faults]
    policy = processing_policy(loaded.gateway, effective_routes(loaded.gateway)[0], loaded.materials, invalidates=False)
    assert policy is not None

    compiled = compile_policy(policy)

    assert compiled.transform is not None
    assert ("org.unit", "sub") == compiled.transform.claims
    assert 2 << 20 == compiled.transform.max_body_bytes
    assert compiled.cache is not None
    assert ("accept", "x-a", "x-g") == compiled.cache.vary
    assert 1 == len(policy.openapi)
    assert 8 == len(compiled.transform.request.body)
