# Scripts for the differential test against Pigeonhole (tests/interop/test_pigeonhole.py).
# A line of `#### name` begins each.

#### empty
#### keep
keep;
#### discard
discard;
#### stop
stop; discard;
#### comments
# one
/* two
   lines */ keep; # three
#### fileinto
require "fileinto"; fileinto "a";
#### fileinto twice
require ["fileinto"]; fileinto "a"; fileinto "b"; fileinto "a";
#### fileinto and keep
require ["fileinto"]; fileinto "a"; keep; keep;
#### fileinto in folders
require ["fileinto"]; fileinto "a/b/c d";
#### fileinto copy
require ["fileinto", "copy"]; fileinto :copy "a";
#### fileinto copy and discard
require ["fileinto", "copy"]; fileinto :copy "a"; discard;
#### fileinto create
require ["fileinto", "mailbox"]; fileinto :create "a";
#### fileinto copy create
require ["fileinto", "mailbox", "copy"]; fileinto :copy :create "a";
#### if elsif else
require "fileinto";
if header :is "subject" "one" { fileinto "first"; }
elsif header :contains "subject" "report" { fileinto "second"; }
else { fileinto "third"; }
#### if within if
require "fileinto";
if exists "from" { if exists "list-id" { fileinto "lists"; stop; } fileinto "people"; }
#### stop within if
require "fileinto"; if true { stop; } fileinto "never";
#### not
require "fileinto"; if not exists "list-id" { fileinto "no list"; }
#### not not
require "fileinto"; if not not true { fileinto "a"; }
#### allof
require "fileinto"; if allof (exists "from", header :contains "from" "x.org", true) { fileinto "a"; }
#### anyof
require "fileinto"; if anyof (false, header :contains "subject" "invoice", size :over 1K) { fileinto "a"; }
#### allof of anyof
require "fileinto"; if allof (anyof (false, true), not anyof (false, false)) { fileinto "a"; }
#### is
require "fileinto"; if header :is "subject" "Weekly report 47" { fileinto "a"; }
#### is with another case
require "fileinto"; if header "SUBJECT" "weekly REPORT 47" { fileinto "a"; }
#### is octet
require "fileinto"; if header :comparator "i;octet" :is "subject" ["weekly report 47", "Hello"] { fileinto "a"; }
#### is of several fields
require "fileinto"; if header :is ["x-tag", "subject"] ["two", "nothing"] { fileinto "a"; }
#### is empty
require "fileinto"; if header :is "x-empty" "" { fileinto "empty"; } if header :is "x-absent" "" { fileinto "absent"; }
#### contains
require "fileinto"; if header :contains ["to", "cc"] "lists.x.org" { fileinto "a"; }
#### contains nothing
require "fileinto"; if header :contains "x-empty" "" { fileinto "a"; } if header :contains "x-absent" "" { fileinto "b"; }
#### contains other letters
require "fileinto"; if header :contains "subject" "WöRLD" { fileinto "a"; } if header :contains "subject" "WÖRLD" { fileinto "b"; }
#### contains octet
require "fileinto"; if header :contains :comparator "i;octet" "subject" "Report" { fileinto "a"; } else { fileinto "b"; }
#### matches
require "fileinto"; if header :matches "subject" "*report*" { fileinto "a"; }
#### matches one character
require "fileinto"; if header :matches "x-tag" "t?o" { fileinto "a"; }
#### matches all
require "fileinto"; if header :matches "x-empty" "*" { fileinto "a"; } if header :matches "x-absent" "*" { fileinto "b"; }
#### matches escaped
require "fileinto"; if header :matches "subject" "*\\**" { fileinto "star"; } if header :matches "subject" "*\\?" { fileinto "question"; }
#### matches at the ends
require "fileinto"; if header :matches "subject" ["weekly*", "*invoice"] { fileinto "a"; }
#### matches stars
require "fileinto"; if header :matches "subject" "***r*p*o*r**t***" { fileinto "a"; }
#### matches nothing
require "fileinto"; if header :matches "subject" "" { fileinto "a"; }
#### matches octet
require "fileinto"; if header :matches :comparator "i;octet" "subject" "W*" { fileinto "a"; }
#### exists
require "fileinto"; if exists ["from", "list-id"] { fileinto "a"; }
#### exists own names
require "fileinto"; if exists ["received"] { fileinto "a"; } if header :contains "content-type" "multipart" { fileinto "b"; }
#### size
require "fileinto"; if size :over 500 { fileinto "large"; } if size :under 300 { fileinto "small"; }
#### size with quantifiers
require "fileinto"; if size :over 1k { fileinto "K"; } if size :under 1M { fileinto "M"; } if size :over 1G { fileinto "G"; }
#### address
require "fileinto"; if address "from" "anna@x.org" { fileinto "a"; }
#### address parts
require ["fileinto", "variables"];
if address :all :matches "from" "*" { fileinto "all ${1}"; }
if address :localpart :matches "from" "*" { fileinto "localpart ${1}"; }
if address :domain :matches "from" "*" { fileinto "domain ${1}"; }
#### address of several
require "fileinto"; if address :domain ["to", "cc"] ["lists.x.org", "y.org"] { fileinto "a"; }
#### address is not in the name
require "fileinto"; if address :contains "from" "boss" { fileinto "a"; }
#### subaddress
require ["fileinto", "variables", "subaddress"];
if address :user :matches "to" "*" { fileinto "user ${1}"; }
if address :detail :matches "to" "*" { fileinto "detail ${1}"; }
#### address count
require ["fileinto", "relational", "comparator-i;ascii-numeric"];
if address :count "ge" :comparator "i;ascii-numeric" ["to", "cc"] "2" { fileinto "many"; }
if address :count "eq" :comparator "i;ascii-numeric" ["to", "cc"] "0" { fileinto "none"; }
#### envelope
require ["fileinto", "envelope"]; if envelope "from" "sender+f@y.org" { fileinto "a"; } if envelope :domain "to" "x.org" { fileinto "b"; }
#### envelope detail
require ["fileinto", "envelope", "subaddress", "variables"]; if envelope :detail :matches "to" "*" { fileinto "detail ${1}"; }
#### envelope parts
require ["fileinto", "envelope", "variables"];
if envelope :matches "from" "*" { fileinto "${1}"; }
if envelope :localpart :matches ["from", "to"] "*+*" { fileinto "${1}-${2}"; }
#### header count
require ["fileinto", "relational", "comparator-i;ascii-numeric"];
if header :count "gt" :comparator "i;ascii-numeric" "x-tag" "1" { fileinto "many"; }
if header :count "eq" :comparator "i;ascii-numeric" ["x-tag", "x-absent"] "0" { fileinto "none"; }
#### header count as text
require ["fileinto", "relational"]; if header :count "ge" "x-tag" ["5", "2"] { fileinto "a"; }
#### header value
require ["fileinto", "relational"]; if header :value "lt" "from" "c" { fileinto "first half"; } if header :value "ge" "from" "C" { fileinto "second half"; }
#### header value numeric
require ["fileinto", "relational", "comparator-i;ascii-numeric"];
if header :value "gt" :comparator "i;ascii-numeric" "x-score" "9" { fileinto "high"; }
if header :value "le" :comparator "i;ascii-numeric" "x-score" "9" { fileinto "low"; }
if header :value "eq" :comparator "i;ascii-numeric" "x-score" "12" { fileinto "twelve"; }
#### header is numeric
require ["fileinto", "comparator-i;ascii-numeric"]; if header :is :comparator "i;ascii-numeric" "x-score" "012" { fileinto "a"; }
#### header value relations
require ["fileinto", "relational", "comparator-i;ascii-numeric"];
if header :value "ne" :comparator "i;ascii-numeric" "x-score" "12" { fileinto "ne"; }
if header :value "lt" :comparator "i;ascii-numeric" "x-score" "100000000000000000000" { fileinto "lt"; }
if header :value "ge" :comparator "i;ascii-numeric" "subject" "5" { fileinto "infinite"; }
#### variables
require ["fileinto", "variables"]; set "name" "value"; fileinto "${name}-${NAME}-${unset}-$${name}";
#### variables not required
require ["fileinto"]; fileinto "${name}";
#### variables of a match
require ["fileinto", "variables"]; if header :matches "list-id" "*<*.*>*" { fileinto "lists/${2}"; }
#### variables of several stars
require ["fileinto", "variables"]; if header :matches "subject" "*e*r*" { fileinto "${0}|${1}|${2}|${3}|${4}"; }
#### variables stay
require ["fileinto", "variables"];
if header :matches "subject" "*e*" { set "first" "${1}"; }
if header :matches "subject" "no such *" { stop; }
fileinto "${first}:${1}";
#### variables of a question mark
require ["fileinto", "variables"]; if header :matches "x-tag" "?w?" { fileinto "${1}${2}"; }
#### variables that are no names
require ["fileinto", "variables"]; fileinto "${a b}${}${$}{${";
#### set lower upper
require ["fileinto", "variables"]; set :upper "u" "aBc"; set :lower "l" "aBC"; fileinto "${u}${l}";
#### set first
require ["fileinto", "variables"]; set :upperfirst "u" "abc"; set :lowerfirst "l" "ABC"; fileinto "${u}${l}";
#### set several
require ["fileinto", "variables"]; set :upperfirst :lower "a" "aBC dEF"; set :length :quotewildcard "b" "a*b?c\\"; fileinto "${a} ${b}";
#### set quotewildcard
require ["fileinto", "variables"];
if header :matches "subject" "*" { set :quotewildcard "q" "${1}"; }
if header :matches "subject" "${q}" { fileinto "same"; }
#### set length
require ["fileinto", "variables"]; set :length "a" "wörld"; set :length "b" ""; fileinto "${a}${b}";
#### set of itself
require ["fileinto", "variables"]; set "a" "1"; set "a" "${a}2"; set "a" "${a}${a}"; fileinto "${a}";
#### string
require ["fileinto", "variables"]; set "a" "x"; if string :is :comparator "i;ascii-casemap" "${a}" ["y", "X"] { fileinto "a"; } if string "" "" { fileinto "b"; }
#### string matches
require ["fileinto", "variables"]; if string :matches "a-b-c" "*-*" { fileinto "${1}|${2}"; }
#### string count
require ["fileinto", "variables", "relational", "comparator-i;ascii-numeric"]; if string :count "eq" :comparator "i;ascii-numeric" ["a", "", "b"] "2" { fileinto "a"; }
#### string value
require ["fileinto", "variables", "relational", "comparator-i;ascii-numeric"]; if string :value "gt" :comparator "i;ascii-numeric" "10" "9" { fileinto "a"; }
#### variable as the name of a field
require ["fileinto", "variables"]; set "field" "subject"; if header :contains "${field}" "report" { fileinto "a"; }
#### variable as a key
require ["fileinto", "variables"]; if header :matches "from" "*<*>*" { if header :contains "reply-to" "${2}" { fileinto "same"; } }
#### date
require ["fileinto", "date"]; if date :is :zone "+0000" "date" "year" "2026" { fileinto "a"; }
#### date parts
require ["fileinto", "date", "variables"];
if date :matches :zone "+0200" "date" "year" "*" { fileinto "year ${1}"; }
if date :matches :zone "+0200" "date" "month" "*" { fileinto "month ${1}"; }
if date :matches :zone "+0200" "date" "day" "*" { fileinto "day ${1}"; }
if date :matches :zone "+0200" "date" "date" "*" { fileinto "date ${1}"; }
if date :matches :zone "+0200" "date" "julian" "*" { fileinto "julian ${1}"; }
if date :matches :zone "+0200" "date" "hour" "*" { fileinto "hour ${1}"; }
if date :matches :zone "+0200" "date" "minute" "*" { fileinto "minute ${1}"; }
if date :matches :zone "+0200" "date" "second" "*" { fileinto "second ${1}"; }
if date :matches :zone "+0200" "date" "time" "*" { fileinto "time ${1}"; }
if date :matches :zone "+0200" "date" "weekday" "*" { fileinto "weekday ${1}"; }
#### date as text
require ["fileinto", "date", "variables"];
if date :matches :zone "-0330" "date" "iso8601" "*" { fileinto "${1}"; }
if date :matches :zone "+0000" "date" "iso8601" "*" { fileinto "${1}"; }
if date :matches :zone "-0330" "date" "std11" "*" { fileinto "${1}"; }
if date :matches :zone "-0330" "date" "zone" "*" { fileinto "${1}"; }
#### date originalzone
require ["fileinto", "date", "variables"]; if date :matches :originalzone "date" "std11" "*" { fileinto "${1}"; }
#### date of received
require ["fileinto", "date", "variables"]; if date :matches :originalzone "received" "date" "*" { fileinto "${1}"; }
#### date value
require ["fileinto", "date", "relational"]; if date :value "ge" :zone "+0000" "date" "date" "2026-01-01" { fileinto "new"; } else { fileinto "old"; }
#### currentdate
require ["fileinto", "date", "relational"]; if currentdate :value "ge" "year" "2026" { fileinto "a"; } if currentdate :is :zone "+0000" "year" "1999" { fileinto "b"; }
#### mailboxexists
require ["fileinto", "mailbox"]; if mailboxexists "no such folder" { fileinto "a"; }
#### encoded-character
require ["fileinto", "encoded-character"]; fileinto "a${hex: 24 41}b${unicode: e4 20AC}${hex:zz}${unicode:}";
#### encoded-character before variables
require ["fileinto", "encoded-character", "variables"]; set "x" "v"; fileinto "${hex:24}{x}${unicode:24}{x}";
#### escapes in strings
require ["fileinto", "variables"]; if string :is "a\b\\c\"d" "ab\\c\"d" { fileinto "a"; }
#### multi-line string
require ["fileinto", "variables"]; set "a" text: # a comment
first
..second
.
; if string :matches "${a}" "first*.second*" { fileinto "a"; }
#### multi-line string in capitals
require ["fileinto", "variables"]; set "a" TEXT:
x
.
; if string :contains "${a}" "x" { fileinto "a"; }
#### address with quotes
require ["fileinto"]; if address :all "from" ["emil e@x.org", "\"emil e\"@x.org"] { fileinto "a"; }
#### date of the first of several
require ["fileinto", "date", "relational"]; if date :count "eq" :originalzone "received" "year" "1" { fileinto "one"; }
#### a field folded with a tab
require "fileinto"; if header :contains "to" "x.org, dev" { fileinto "a"; }
#### case of words
REQUIRE "fileinto"; IF HEADER :CONTAINS "Subject" "report" { FILEINTO "a"; } Else { Keep; }
#### comparators required
require ["comparator-i;octet", "comparator-i;ascii-casemap"]; keep;
#### two hundred rules of one kind
require "fileinto"; if header :contains "subject" ["a1", "b2", "c3", "d4", "report"] { fileinto "a"; }
#### error: unknown require
require "nope"; keep;
#### error: case of require
require "FileInto"; keep;
#### error: unknown comparator
if header :comparator "i;unicode-casemap" "subject" "x" { keep; }
#### error: numeric not required
if header :comparator "i;ascii-numeric" "subject" "5" { discard; }
#### error: numeric contains
require "comparator-i;ascii-numeric";
if header :contains :comparator "i;ascii-numeric" "subject" "5" { discard; }
#### error: no semicolon at the end
keep;
discard
#### error: no semicolon
if true { discard }
#### error: unclosed block
if true {
discard;
#### error: unclosed string
require "fileinto;
#### error: unclosed comment
keep; /* and so on
#### error: unclosed list
require ["fileinto"; keep;
#### error: unclosed multi-line
require "fileinto"; fileinto text:
abc
#### error: empty list
if header "subject" [] { discard; }
#### error: unknown command
keep; forward;
#### error: unknown test
if foo { discard; }
#### error: not required
fileinto "a";
#### error: late require
keep; require "fileinto";
#### error: require in a block
if true { require "fileinto"; }
#### error: else alone
else { discard; }
#### error: else twice
if true { keep; } else { keep; } else { discard; }
#### error: tag of another command
keep :copy;
#### error: copy not required
require "fileinto"; fileinto :copy "a";
#### error: two match types
if header :is :contains "subject" "x" { discard; }
#### error: tag after strings
if header "subject" :is "x" { discard; }
#### error: list of folders
require "fileinto"; fileinto ["a", "b"];
#### error: too many arguments
keep "x";
#### error: too few arguments
if header "subject" { discard; }
#### error: size without tag
if size 5 { discard; }
#### error: too large a number
if size :over 99999999999999999999 { discard; }
#### error: strange number
if size :over 10X { discard; }
#### error: allof without parentheses
if allof true { discard; }
#### error: not with two tests
if not true, false { discard; }
#### error: no tests
if anyof () { discard; }
#### error: unknown relation
require "relational"; if header :count "more" "subject" "1" { discard; }
#### error: relational not required
if header :count "gt" "subject" "1" { discard; }
#### error: no address field
if address "subject" "x" { discard; }
#### error: unknown envelope part
require "envelope"; if envelope "helo" "x" { discard; }
#### error: match variable set
require "variables"; set "1" "x";
#### error: namespace set
require "variables"; set "a.b" "x";
#### error: variable in a variable's name
require "variables"; set "${a}" "x";
#### error: two modifiers
require "variables"; set :lower :upper "a" "x";
#### error: no such character
require ["fileinto", "encoded-character"]; fileinto "a${unicode: d800}";
#### error: two zones
require "date"; if date :zone "+0100" :originalzone "date" "year" "2026" { discard; }
#### error: semicolon after a block
if true { keep; };
#### error: lonely semicolon
;
#### error: word in the place of text
text: keep;
#### error: require takes strings
require true;
