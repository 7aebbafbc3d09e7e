# Threads of a Ruby program that build long strings, one after the other, and drop most of them.
kept = []
lock = Mutex.new
8.times do |round|
  4.times.map do |n|
    Thread.new do
      lock.synchronize do
        texts = (0...3000).map { |i| "#{n}:#{i} " * (200 + (i * 7 + round) % 400) }
        kept.concat(texts.each_slice(150).map(&:first))
      end
    end
  end.each(&:join)
  GC.start
  sleep 0.03
end
GC.start
sleep 0.8
