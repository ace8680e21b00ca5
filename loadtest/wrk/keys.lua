-- One key a request. Arguments: method, number of keys.
local method, count
local value = string.rep("v", 100)

function init(args)
  method, count = args[1], tonumber(args[2])
  math.randomseed(tonumber(args[3]))
end

function request()
  local path = string.format("/v1/kv/bench/%06d", math.random(0, count - 1))
  return wrk.format(method, path, nil, method == "PUT" and value or nil)
end

function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
