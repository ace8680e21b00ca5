-- Prepared batches in turn. Arguments: prefix of their files, number of files.
local bodies = {}
local turn = 0

function init(args)
  for number = 0, tonumber(args[2]) - 1 do
    local file = assert(io.open(args[1] .. number, "rb"))
    bodies[#bodies + 1] = file:read("*a")
    file:close()
  end
  turn = tonumber(args[3]) % #bodies
end

function request()
  turn = turn % #bodies + 1
  return wrk.format("POST", "/v1/batch", {["Content-Type"] = "application/msgpack"}, bodies[turn])
end

function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99)))
end
