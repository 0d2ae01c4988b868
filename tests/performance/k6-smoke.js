// A crowd that reads what is cached: `make load-k6` (tests/performance/load_test.py) runs it and gives the variables.
// By hand: .tools/bin/k6 run -e GATEWAY_URL=http://127.0.0.1:10000 tests/performance/k6-smoke.js
//
// GATEWAY_URL     the gateway, with the routes of envoy/gateway.yaml
// GATEWAY_TOKEN   a JWT for /api/users; without it nobody reads there
// USERS, DURATION how many virtual users, for how long (20, 60s)
// LOAD_TIMES=0    judge errors and shape alone
import { check, group } from "k6";
import http from "k6/http";
import { Counter, Rate } from "k6/metrics";

const url = __ENV.GATEWAY_URL || "http://127.0.0.1:10000";
const token = __ENV.GATEWAY_TOKEN;
const judgesTimes = __ENV.LOAD_TIMES !== "0";

const hits = new Rate("cache_hits");
const promised = new Rate("answers_as_promised");
const refused = new Counter("refused_by_a_limit");

// The numbers of sla.py; tests/unit/performance/test_sla.py compares them.
const latency = ["p(95)<=350", "p(99)<=650"];
const errors = ["rate<0.005"];

export const options = {
  vus: Number(__ENV.USERS || 20),
  duration: __ENV.DURATION || "60s",
  summaryTrendStats: ["avg", "med", "p(95)", "p(99)", "max"],
  thresholds: Object.assign(
    { http_req_failed: errors, answers_as_promised: ["rate>0.995"], cache_hits: ["rate>0.8"] },
    judgesTimes ? { http_req_duration: latency } : {},
  ),
};

// A limit that refuses is no failure; everything else but 200 is.
http.setResponseCallback(http.expectedStatuses(200, 429));

function ask(path, tags, shape, headers = {}) {
  const answer = http.get(`${url}${path}`, { tags, headers });
  if (answer.status === 429) {
    refused.add(1);
    promised.add(answer.headers["Retry-After"] !== undefined);
    return answer;
  }
  promised.add(check(answer, Object.assign({ "status 200": (a) => a.status === 200 }, shape)));
  return answer;
}

const json = { "is JSON": (a) => (a.headers["Content-Type"] || "").startsWith("application/json") };

export default function () {
  const dice = Math.random();
  if (dice < 0.8 || (!token && dice >= 0.9)) {
    group("popular events (cached)", () => {
      const page = 1 + Math.floor(Math.random() * 20);
      const shape = { "tells what the cache did": (a) => a.headers["Cache-Status"] !== undefined };
      const answer = ask(`/api/events/popular?page=${page}`, { name: "popular" }, Object.assign({}, json, shape));
      if (answer.status === 200) {
        hits.add(/; hit/.test(answer.headers["Cache-Status"] || ""));
      }
    });
  } else if (dice < 0.9) {
    group("an event (canary)", () => {
      ask(`/api/events/${1 + Math.floor(Math.random() * 2)}`, { name: "event" }, json);
    });
  } else {
    group("a user (JWT)", () => {
      const shape = { "tells the limit": (a) => a.headers.Ratelimit !== undefined };
      const headers = { Authorization: `Bearer ${token}` };
      ask(`/api/users/${1 + Math.floor(Math.random() * 3)}`, { name: "user" }, Object.assign({}, json, shape), headers);
    });
  }
}
