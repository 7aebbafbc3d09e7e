# A pool of threads that work off jobs: each makes a page of many small texts, and a cache keeps
# the newest pages. Jobs come at even times.
WORKERS, JOBS, KEPT = 4, 1000, 60
jobs = Array.new(WORKERS) { Queue.new }
cache, guard = {}, Mutex.new

workers = jobs.map do |queue|
  Thread.new do
    while (number = queue.pop) >= 0
      rows = (0...300).map { |i| "<tr><td>#{number}</td><td>#{"x" * (20 + (i * 37 + number * 11) % 700)}</td></tr>" }
      page = rows.join("\n")
      guard.synchronize do
        cache[number] = { page: page, rows: rows.each_slice(10).map(&:first) }
        cache.delete(number - KEPT)
      end
    end
  end
end

start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
JOBS.times do |number|
  jobs[number % WORKERS] << number
  wait = start + (number + 1) * 0.006 - Process.clock_gettime(Process::CLOCK_MONOTONIC)
  sleep wait if wait > 0
end
jobs.each { |queue| queue << -1 }
workers.each(&:join)
sleep 1.0
