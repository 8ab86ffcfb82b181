-- Sends the requests of a file in order, over and over; after each answer it pauses for as many milliseconds as a second
-- argument says. A line is a path, a tab, and a header block of "Name: value" parts joined by tabs.
local requests, position = {}, 0

function init(args)
  if args[2] then
    delay = function() return tonumber(args[2]) end
  end
  for line in io.lines(args[1]) do
    local path, rest = line:match("^([^\t]+)\t?(.*)$")
    local headers = {}
    for name, value in rest:gmatch("([^:\t]+): ([^\t]+)") do headers[name] = value end
    requests[#requests + 1] = wrk.format("GET", path, headers)
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency, _)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes, failed,
    latency:percentile(50), latency:percentile(99)))
end
