-- Whole requests, taken at random. Arguments: file of reads, file of writes, percentage of reads. Each file is a
-- sequence of a length in decimal, a newline and so many bytes. They are made beforehand so that wrk costs the same
-- beside every system, whatever its requests look like.
local reads, writes = {}, {}
local share

local function load(path)
  local found, file = {}, assert(io.open(path, "rb"))
  local length = file:read("*l")
  while length do
    found[#found + 1] = file:read(tonumber(length))
    length = file:read("*l")
  end
  file:close()
  return found
end

function init(args)
  share = tonumber(args[3]) / 100
  if share > 0 then reads = load(args[1]) end
  if share < 1 then writes = load(args[2]) end
  math.randomseed(tonumber(args[4]))
end

function request()
  local from = math.random() < share and reads or writes
  return from[math.random(#from)]
end

function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
