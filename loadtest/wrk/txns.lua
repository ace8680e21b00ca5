-- PUTs, or transactions of puts. Arguments: kind (put; long: a put with a field that has the gateway parse it, as it
-- parses transactions; one, two, apart), file of tags (a line each, all of different
-- partitions), seed. Keys are taken in turn, so no two requests that are under way have one in common.
local KEYS = 4096
local kind, turn
local tags = {}
local value = string.rep("v", 100)
local headers = {["Content-Type"] = "application/json"}
local parsed = {["Cache-Control"] = "no-cache"}

function init(args)
  kind = args[1]
  for line in io.lines(args[2]) do tags[#tags + 1] = line end
  turn = tonumber(args[3]) * 1000003
end

local function key(tag, number)
  return string.format("bench/{%s}/%04d", tags[tag % #tags + 1], number)
end

local function put(name)
  return string.format('{"op":"put","key":"%s","value":"%s"}', name, value)
end

function request()
  turn = turn + 1
  local tag, number = turn, math.floor(turn / #tags) % KEYS
  if kind == "put" or kind == "long" then
    return wrk.format("PUT", "/v1/kv/" .. key(tag, number), kind == "long" and parsed or nil, value)
  end
  local puts = put(key(tag, number))
  if kind == "two" then
    puts = puts .. "," .. put(key(tag, number) .. "/b")
  elseif kind == "apart" then
    puts = puts .. "," .. put(key(tag + 1, number) .. "/b")
  end
  return wrk.format("POST", "/v1/txn", headers, '{"then":[' .. puts .. "]}")
end

function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
