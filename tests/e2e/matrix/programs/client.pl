# A request by Perl's LWP. Prints the answer's status.
use strict;
use warnings;
use LWP::UserAgent;

my $answer = LWP::UserAgent->new->get($ARGV[0]);
print STDERR $answer->content if ($answer->header('Client-Warning') // '') eq 'Internal response';
print $answer->code, "\n";
