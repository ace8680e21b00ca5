-- A page of keys a request, from a random key on. Arguments: number of keys, keys a page.
local count, limit

function init(args)
  count, limit = tonumber(args[1]), tonumber(args[2])
  math.randomseed(tonumber(args[3]))
end

function request()
  return wrk.format("GET", string.format("/v1/kv?limit=%d&start=bench/%06d", limit, math.random(0, count - limit)))
end

function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
