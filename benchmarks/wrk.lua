-- Sends the requests of a file in turn; at the end writes one line of JSON.
local requests = {}

function init(args)
  local listed = dofile(args[1])
  for i, one in ipairs(listed) do
    requests[i] = wrk.format(one.method, one.path, one.headers, one.body)
  end
end

local next_one = 0
function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "max": %d, '
      .. '"failed": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
