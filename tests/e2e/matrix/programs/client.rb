# A request by Ruby's net/http. Prints the answer's status.
require 'net/http'

puts Net::HTTP.get_response(URI(ARGV[0])).code
