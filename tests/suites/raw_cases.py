"""What is said on the wire in each case, and to a server configured how.

A step is a connection's name, the bytes it sends, and how long to listen afterwards where the
usual quiet is too short. A connection opens with its first step; `CLOSE` ends it.
"""

CLOSE = None

HELLO = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n'
BARE = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
VERBOSE = b'CONNECT {"verbose":true,"pedantic":false,"headers":true}\r\n'
PEDANTIC = b'CONNECT {"verbose":false,"pedantic":true,"headers":true}\r\n'
PING = b"PING\r\n"

PLAIN = ""
LIMITED = "max_payload: 64\nmax_control_line: 512\nmax_subscriptions: 2\nmax_connections: 3\n"
IMPATIENT = 'ping_interval: "300ms"\nping_max: 2\n'
USER = "authorization { user: derek, password: porkchop, timeout: 1 }\n"
TOKEN = "authorization { token: s3cr3t, timeout: 1 }\n"
NKEY = "authorization { users: [ { nkey: UAFHG6FUD2UU4SDFVAFUL5LDFO2XM4WYM76UNXTPJYJK7EEMYRBHT2VE } ] }\n"
PERMITTED = """
authorization {
  users = [
    { user: a, password: a, permissions: { publish: "foo", subscribe: "bar" } }
    { user: b, password: b, permissions: {
        publish: { allow: ["foo.*", "open.>"], deny: ["foo.secret"] }
        subscribe: { allow: "foo.>", deny: "foo.secret" } } }
    { user: c, password: c, permissions: { subscribe: ["q A", "q.* B*"], publish: ">" } }
    { user: d, password: d, permissions: { subscribe: "service", allow_responses: true } }
    { user: e, password: e, permissions: { subscribe: { deny: "foo.secret" } } }
    { user: all, password: all }
  ]
}
"""


def user(name, verbose=b"false"):
    """CONNECT of a user of PERMITTED, whose password is the name."""
    name = name.encode()
    return (
        b'CONNECT {"user":"' + name + b'","pass":"' + name + b'","headers":true,'
        b'"no_responders":true,"protocol":1,"verbose":' + verbose + b"}\r\nPING\r\n"
    )


def one(*sent, hello=HELLO):
    """Steps of a case with one connection: hello, PING, then each of `sent`."""
    return [("a", hello + PING), *[("a", s) for s in sent]]


def refused(line):
    """Steps of a case whose one line may be refused: another PING shows who is still there."""
    return one(line, PING)


CASES = [
    # Talking at all.
    ("ping before connect", PLAIN, [("a", PING)]),
    ("sub before connect", PLAIN, [("a", b"SUB foo 1\r\nPUB foo 2\r\nhi\r\nPING\r\n")]),
    ("connect twice", PLAIN, one(HELLO + PING)),
    ("connect that is not JSON", PLAIN, [("a", b"CONNECT hello\r\nPING\r\n")]),
    ("connect with nothing", PLAIN, [("a", b"CONNECT\r\nPING\r\n")]),
    ("connect with an empty object", PLAIN, [("a", b"CONNECT {}\r\nPING\r\n")]),
    ("connect with wrong types", PLAIN, [("a", b'CONNECT {"verbose":"yes"}\r\nPING\r\n')]),
    ("connect with unknown fields", PLAIN, [("a", b'CONNECT {"who":["x"]}\r\nPING\r\n')]),
    ("connect with nulls", PLAIN, [("a", b'CONNECT {"verbose":null,"name":null,"user":null,"protocol":null}\r\nPING\r\n')]),
    ("connect of a future protocol", PLAIN, [("a", b'CONNECT {"protocol":9}\r\nPING\r\n')]),
    ("no responders without headers", PLAIN,
        [("a", b'CONNECT {"no_responders":true,"headers":false}\r\nPING\r\n')]),
    ("verbose", PLAIN, one(b"SUB foo 1\r\n", b"PUB foo 2\r\nhi\r\n", b"UNSUB 1\r\n", b"PONG\r\n", hello=VERBOSE)),
    ("verbose hpub", PLAIN, one(b"HPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n", hello=VERBOSE)),
    ("lower case", PLAIN, one(b"sub foo 1\r\npub foo 2\r\nhi\r\nping\r\nunsub 1\r\nping\r\n")),
    ("mixed case", PLAIN, one(b"Sub foo 1\r\nPuB foo 2\r\nhi\r\npInG\r\n")),
    ("line feeds only", PLAIN, one(b"SUB foo 1\nPING\n", b"PUB foo 2\nhi\n", PING)),
    ("many blanks", PLAIN, one(b"SUB  \t foo \t 1  \r\nPUB \t foo   2 \r\nhi\r\nPING\r\n")),
    ("in pieces", PLAIN, one(b"SU", b"B", b" f 1\r", b"\nP", b"UB f", b" 1", b"\r", b"\nx", b"\r", b"\n")),
    ("empty line", PLAIN, refused(b"\r\n")),
    ("unknown verb", PLAIN, refused(b"FOO bar\r\n")),
    ("one letter", PLAIN, refused(b"Y\r\n")),
    ("prefix of a verb", PLAIN, refused(b"SU foo 1\r\n")),
    ("verb with a tail", PLAIN, refused(b"SUBS foo 1\r\n")),
    ("ping with a tail", PLAIN, refused(b"PING hello\r\n")),
    ("pong nobody asked for", PLAIN, refused(b"PONG\r\nPONG\r\nPONG\r\n")),
    ("+OK from a client", PLAIN, refused(b"+OK\r\n")),
    ("-ERR from a client", PLAIN, refused(b"-ERR 'x'\r\n")),
    ("INFO from a client", PLAIN, refused(b"INFO {}\r\n")),
    ("MSG from a client", PLAIN, refused(b"MSG foo 1 2\r\nhi\r\n")),
    ("route verbs from a client", PLAIN, refused(b"RS+ $G foo\r\n")),
    ("account verbs from a client", PLAIN, refused(b"A+ foo\r\n")),
    ("HTTP request", PLAIN, [("a", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")]),
    ("TLS hello to a plain port", PLAIN, [("a", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")]),
    # SUB and UNSUB.
    ("sub without sid", PLAIN, refused(b"SUB foo\r\n")),
    ("sub without anything", PLAIN, refused(b"SUB\r\n")),
    ("sub with too much", PLAIN, refused(b"SUB foo bar 1 2\r\n")),
    ("sub empty token", PLAIN, refused(b"SUB foo..bar 1\r\n")),
    ("sub leading dot", PLAIN, refused(b"SUB .foo 1\r\n")),
    ("sub trailing dot", PLAIN, refused(b"SUB foo. 1\r\n")),
    ("sub > inside", PLAIN, refused(b"SUB foo.>.bar 1\r\n")),
    ("sub # is a letter", PLAIN, one(b"SUB a.# 1\r\nPUB a.# 1\r\nx\r\nPUB a.b 1\r\ny\r\n")),
    ("sub * in a word", PLAIN, one(b"SUB foo* 1\r\nPUB foobar 1\r\nx\r\nPUB foo* 1\r\ny\r\nPING\r\n")),
    ("sub ** is a word", PLAIN, one(b"SUB foo.** 1\r\nPUB foo.a 1\r\nx\r\nPUB foo.** 1\r\ny\r\nPING\r\n")),
    ("sub >> is a word", PLAIN, one(b"SUB foo.>> 1\r\nPUB foo.a 1\r\nx\r\nPUB foo.>> 1\r\ny\r\nPING\r\n")),
    ("wildcards", PLAIN, one(b"SUB a.* 1\r\nSUB a.> 2\r\nSUB > 3\r\nSUB *.b 4\r\nPUB a.b 1\r\nx\r\n")),
    ("> needs one more", PLAIN, one(b"SUB a.> 1\r\nPUB a 1\r\nx\r\nPUB a.b.c 1\r\ny\r\n")),
    ("sub same sid again", PLAIN, one(b"SUB foo 1\r\nSUB bar 1\r\nPUB foo 1\r\nx\r\nPUB bar 1\r\ny\r\n")),
    ("sub same subject and sid again", PLAIN, one(b"SUB foo 1\r\nSUB foo 1\r\nPUB foo 1\r\nx\r\n")),
    ("two subs of one subject", PLAIN, one(b"SUB foo 1\r\nSUB foo 2\r\nPUB foo 1\r\nx\r\n")),
    ("sid of letters", PLAIN, one(b"SUB foo aZ-9:_\r\nPUB foo 1\r\nx\r\nUNSUB aZ-9:_\r\nPUB foo 1\r\ny\r\nPING\r\n")),
    ("long sid", PLAIN, one(b"SUB foo " + b"s" * 300 + b"\r\nPUB foo 1\r\nx\r\n")),
    ("sub to UTF-8", PLAIN, one("SUB grüße.日本 1\r\nPUB grüße.日本 1\r\nx\r\n".encode())),
    ("sub to bytes that are not UTF-8", PLAIN, one(b"SUB f\xff\xfe 1\r\nPUB f\xff\xfe 1\r\nx\r\nPING\r\n")),
    ("sub to a NUL", PLAIN, one(b"SUB f\x00o 1\r\nPUB f\x00o 1\r\nx\r\nPING\r\n")),
    ("unsub unknown", PLAIN, refused(b"UNSUB 99\r\n")),
    ("unsub without sid", PLAIN, refused(b"UNSUB\r\n")),
    ("unsub with too much", PLAIN, refused(b"UNSUB 1 2 3\r\n")),
    ("unsub with a word", PLAIN, one(b"SUB foo 1\r\nUNSUB 1 many\r\nPUB foo 1\r\nx\r\nPING\r\n")),
    ("unsub after two", PLAIN, one(b"SUB foo 1\r\nUNSUB 1 2\r\n" + b"PUB foo 1\r\nx\r\n" * 3 + PING)),
    ("unsub after fewer than got", PLAIN,
        one(b"SUB foo 1\r\n" + b"PUB foo 1\r\nx\r\n" * 3, b"UNSUB 1 2\r\nPUB foo 1\r\ny\r\nPING\r\n")),
    ("unsub after zero", PLAIN, one(b"SUB foo 1\r\nUNSUB 1 0\r\nPUB foo 1\r\ny\r\nPING\r\n")),
    ("unsub max raised", PLAIN,
        one(b"SUB foo 1\r\nUNSUB 1 1\r\nUNSUB 1 3\r\n" + b"PUB foo 1\r\nx\r\n" * 4 + PING)),
    # PUB.
    ("pub empty", PLAIN, one(b"SUB foo 1\r\nPUB foo 0\r\n\r\n")),
    ("pub with reply", PLAIN, one(b"SUB foo 1\r\nPUB foo bar 2\r\nhi\r\n")),
    ("pub without size", PLAIN, refused(b"PUB foo\r\n")),
    ("pub without anything", PLAIN, refused(b"PUB\r\n")),
    ("pub with too much", PLAIN, refused(b"PUB a b c 1\r\nx\r\n")),
    ("pub size not a number", PLAIN, refused(b"PUB foo x\r\n")),
    ("pub size negative", PLAIN, refused(b"PUB foo -1\r\nx\r\n")),
    ("pub size signed", PLAIN, one(b"SUB foo 1\r\nPUB foo +1\r\nx\r\nPING\r\n")),
    ("pub size with zeros", PLAIN, one(b"SUB foo 1\r\nPUB foo 0001\r\nx\r\nPING\r\n")),
    ("pub size immense", PLAIN, refused(b"PUB foo 99999999999999999999\r\n")),
    ("pub longer than said", PLAIN, one(b"SUB foo 1\r\nPUB foo 2\r\nhello\r\n", PING)),
    ("pub shorter than said", PLAIN, one(b"SUB foo 1\r\nPUB foo 5\r\nhi\r\n", b"\r\n", PING)),
    ("pub to a wildcard", PLAIN, one(b"SUB foo.* 1\r\nPUB foo.* 1\r\nx\r\nPING\r\n")),
    ("pub to > ", PLAIN, one(b"SUB > 1\r\nPUB > 1\r\nx\r\nPING\r\n")),
    ("pub to an empty token", PLAIN, one(b"SUB > 1\r\nPUB foo..bar 1\r\nx\r\nPING\r\n")),
    ("pub leading dot", PLAIN, one(b"SUB > 1\r\nPUB .foo 1\r\nx\r\nPING\r\n")),
    ("pub trailing dot", PLAIN, one(b"SUB > 1\r\nPUB foo. 1\r\nx\r\nPING\r\n")),
    ("pub to a NUL", PLAIN, one(b"SUB > 1\r\nPUB f\x00o 1\r\nx\r\nPING\r\n")),
    ("pub reply wildcard", PLAIN, one(b"SUB foo 1\r\nPUB foo bar.* 1\r\nx\r\nPING\r\n")),
    ("pub reply empty token", PLAIN, one(b"SUB foo 1\r\nPUB foo bar..x 1\r\nx\r\nPING\r\n")),
    ("pedantic pub wildcard", PLAIN, one(b"SUB > 1\r\nPUB foo.* 1\r\nx\r\nPING\r\n", hello=PEDANTIC)),
    ("pedantic pub empty token", PLAIN, one(b"SUB > 1\r\nPUB foo..x 1\r\nx\r\nPING\r\n", hello=PEDANTIC)),
    ("pedantic sub empty token", PLAIN, one(b"SUB foo..x 1\r\nPING\r\n", hello=PEDANTIC)),
    ("pub long subject", PLAIN, one(b"SUB > 1\r\nPUB " + b"a" * 1000 + b" 1\r\nx\r\nPING\r\n")),
    ("pub many tokens", PLAIN, one(b"SUB > 1\r\nPUB " + b".".join([b"a"] * 200) + b" 1\r\nx\r\nPING\r\n")),
    ("pub reserved mpreg", PLAIN, one(b"SUB mpreg.> 1\r\nPUB mpreg.x 1\r\nx\r\nPING\r\n")),
    # HPUB.
    ("hpub", PLAIN, one(b"SUB foo 1\r\nHPUB foo 22 24\r\nNATS/1.0\r\nBar: Baz\r\n\r\nhi\r\n")),
    ("hpub with reply", PLAIN, one(b"SUB foo 1\r\nHPUB foo re 22 24\r\nNATS/1.0\r\nBar: Baz\r\n\r\nhi\r\n")),
    ("hpub without payload", PLAIN, one(b"SUB foo 1\r\nHPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n")),
    ("hpub to one without headers", PLAIN,
        [("b", BARE + b"SUB foo 1\r\nPING\r\n"), *one(b"HPUB foo 22 24\r\nNATS/1.0\r\nBar: Baz\r\n\r\nhi\r\n")]),
    ("hpub from one without headers", PLAIN, one(b"HPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n", PING, hello=BARE)),
    ("hpub header over total", PLAIN, refused(b"HPUB foo 24 12\r\nNATS/1.0\r\n\r\n\r\n")),
    ("hpub without total", PLAIN, refused(b"HPUB foo 12\r\nNATS/1.0\r\n\r\n\r\n")),
    ("hpub with too much", PLAIN, refused(b"HPUB a b c 12 12\r\nNATS/1.0\r\n\r\n\r\n")),
    ("hpub not a header", PLAIN, one(b"SUB foo 1\r\nHPUB foo 4 6\r\nabcdhi\r\nPING\r\n")),
    ("hpub header size zero", PLAIN, one(b"SUB foo 1\r\nHPUB foo 0 2\r\nhi\r\nPING\r\n")),
    ("hpub negative", PLAIN, refused(b"HPUB foo -1 2\r\nhi\r\n")),
    # Receivers.
    ("queue of two", PLAIN, one(b"SUB foo q 1\r\nSUB foo q 2\r\nUNSUB 1\r\n" + b"PUB foo 1\r\nx\r\n" * 2)),
    ("queue and plain", PLAIN, one(b"SUB foo q 1\r\nSUB foo 2\r\nSUB foo p 3\r\nUNSUB 3 1\r\nPUB foo 1\r\nx\r\n")),
    ("no echo", PLAIN, [("a", b'CONNECT {"echo":false}\r\nSUB foo 1\r\nPUB foo 1\r\nx\r\nPING\r\n')]),
    ("no echo, others hear", PLAIN,
        [("b", HELLO + b"SUB foo 1\r\nPING\r\n"),
         ("a", b'CONNECT {"echo":false}\r\nSUB foo 1\r\nPUB foo 1\r\nx\r\nPING\r\n')]),
    ("no echo, queue member is oneself", PLAIN,
        [("a", b'CONNECT {"echo":false}\r\nSUB foo q 1\r\nPUB foo 1\r\nx\r\nPING\r\n')]),
    ("no responders", PLAIN, one(b"SUB r.* 7\r\nPUB nobody r.1 2\r\nhi\r\n")),
    ("no responders, not asked for", PLAIN, one(b"SUB r.* 7\r\nPUB nobody r.1 2\r\nhi\r\nPING\r\n", hello=VERBOSE)),
    ("no responders, reply not subscribed", PLAIN, one(b"PUB nobody r.1 2\r\nhi\r\nPING\r\n")),
    ("request and reply", PLAIN,
        [("b", HELLO + b"SUB service 1\r\nPING\r\n"), *one(b"SUB r.* 7\r\nPUB service r.1 2\r\nhi\r\n"),
         ("b", b"PUB r.1 3\r\nyes\r\n")]),
    ("close with a message half sent", PLAIN,
        [("b", HELLO + b"SUB foo 1\r\nPING\r\n"), *one(b"PUB foo 5\r\nhe"), ("a", CLOSE), ("b", PING)]),
    # What a server offers.
    ("JetStream info", PLAIN, one(b"SUB r 1\r\nPUB $JS.API.INFO r 0\r\n\r\n")),
    ("JetStream stream info", PLAIN, one(b"SUB r 1\r\nPUB $JS.API.STREAM.INFO.X r 0\r\n\r\n")),
    ("publish to $SYS", PLAIN, one(b"SUB > 1\r\nPUB $SYS.FOO 1\r\nx\r\nPING\r\n")),
    ("subscribe to $SYS", PLAIN, one(b"SUB $SYS.> 1\r\nPUB $SYS.FOO 1\r\nx\r\nPING\r\n")),
    ("$SRV without services", PLAIN, one(b"SUB r 1\r\nPUB $SRV.PING r 0\r\n\r\n")),
    # Limits.
    ("payload at the limit", LIMITED, one(b"SUB foo 1\r\nPUB foo 64\r\n" + b"x" * 64 + b"\r\nPING\r\n")),
    ("payload over the limit", LIMITED, one(b"PUB foo 65\r\n" + b"x" * 65 + b"\r\nPING\r\n")),
    ("headers and payload over the limit", LIMITED,
        one(b"HPUB foo 12 65\r\nNATS/1.0\r\n\r\n" + b"x" * 53 + b"\r\nPING\r\n")),
    ("control line over the limit", LIMITED, one(b"PUB " + b"a" * 600 + b" 1\r\nx\r\nPING\r\n")),
    ("control line without end", LIMITED, one(b"SUB " + b"a" * 2000)),
    ("CONNECT over the line limit", LIMITED,
        [("a", b'CONNECT {"name":"' + b"n" * 600 + b'"}\r\nPING\r\n')]),
    ("one subscription too many", LIMITED, one(b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nPING\r\n")),
    ("one connection too many", LIMITED,
        [("a", HELLO + PING), ("b", HELLO + PING), ("c", HELLO + PING), ("d", HELLO + PING)]),
    ("silence", IMPATIENT, [("a", HELLO + PING, 3.0)]),
    # Who may come in.
    ("verbose is the default", USER, [("a", b'CONNECT {"user":"derek","pass":"porkchop"}\r\nPING\r\n')]),
    ("no credentials", USER, [("a", HELLO + PING)]),
    ("wrong password", USER, [("a", b'CONNECT {"user":"derek","pass":"x"}\r\nPING\r\n')]),
    ("unknown user", USER, [("a", b'CONNECT {"user":"who","pass":"x"}\r\nPING\r\n')]),
    ("right password", USER, [("a", b'CONNECT {"verbose":false,"user":"derek","pass":"porkchop"}\r\nPING\r\n')]),
    ("right password, verbose", USER,
        [("a", b'CONNECT {"verbose":true,"user":"derek","pass":"porkchop"}\r\nPING\r\n')]),
    ("wrong password, verbose", USER, [("a", b'CONNECT {"verbose":true,"user":"derek","pass":"x"}\r\nPING\r\n')]),
    ("sub before credentials", USER, [("a", b"SUB foo 1\r\n"), ("a", PING)]),
    ("ping before credentials", USER, [("a", PING), ("a", PING)]),
    ("pub before credentials", USER, [("a", b"PUB foo 2\r\nhi\r\n")]),
    ("no CONNECT in time", USER, [("a", b"", 2.5)]),
    ("second CONNECT with a wrong password", USER,
        [("a", b'CONNECT {"user":"derek","pass":"porkchop"}\r\nPING\r\n'),
         ("a", b'CONNECT {"user":"derek","pass":"x"}\r\nPING\r\n')]),
    ("right token", TOKEN, [("a", b'CONNECT {"auth_token":"s3cr3t"}\r\nPING\r\n')]),
    ("wrong token", TOKEN, [("a", b'CONNECT {"auth_token":"x"}\r\nPING\r\n')]),
    ("token as password", TOKEN, [("a", b'CONNECT {"user":"x","pass":"s3cr3t"}\r\nPING\r\n')]),
    ("nkey with a signature of zeros", NKEY,
        [("a", b'CONNECT {"nkey":"UAFHG6FUD2UU4SDFVAFUL5LDFO2XM4WYM76UNXTPJYJK7EEMYRBHT2VE","sig":"'
            + b"A" * 86 + b'"}\r\nPING\r\n')]),
    ("nkey without a signature", NKEY,
        [("a", b'CONNECT {"nkey":"UAFHG6FUD2UU4SDFVAFUL5LDFO2XM4WYM76UNXTPJYJK7EEMYRBHT2VE"}\r\nPING\r\n')]),
    # What they may do there.
    ("publish allowed", PERMITTED, [("a", user("a")), ("a", b"PUB foo 1\r\nx\r\nPING\r\n")]),
    ("publish not allowed", PERMITTED, [("a", user("a")), ("a", b"PUB no 1\r\nx\r\nPING\r\n")]),
    ("publish not allowed, verbose", PERMITTED,
        [("a", user("a", verbose=b"true")), ("a", b"PUB no 1\r\nx\r\nPING\r\n")]),
    ("subscribe not allowed", PERMITTED, [("a", user("a")), ("a", b"SUB no 1\r\nPING\r\n")]),
    ("subscribe not allowed in a queue", PERMITTED, [("a", user("a")), ("a", b"SUB no q 1\r\nPING\r\n")]),
    ("subscribe not allowed, verbose", PERMITTED,
        [("a", user("a", verbose=b"true")), ("a", b"SUB no 1\r\nPING\r\n")]),
    ("subscribe wider than allowed", PERMITTED, [("a", user("a")), ("a", b"SUB > 1\r\nSUB * 2\r\nPING\r\n")]),
    ("publish denied", PERMITTED, [("b", user("b")), ("b", b"PUB foo.secret 1\r\nx\r\nPUB foo.ok 1\r\nx\r\nPING\r\n")]),
    ("publish deeper than allowed", PERMITTED, [("b", user("b")), ("b", b"PUB foo.a.b 1\r\nx\r\nPUB open.a.b 1\r\nx\r\nPING\r\n")]),
    ("deny hides messages of a wildcard", PERMITTED,
        [("b", user("b")), ("b", b"SUB foo.> 1\r\nSUB foo.* 2\r\nPING\r\n"),
         ("x", user("all")), ("x", b"PUB foo.secret 1\r\nx\r\nPUB foo.ok 1\r\ny\r\nPING\r\n")]),
    ("subscribe denied", PERMITTED, [("b", user("b")), ("b", b"SUB foo.secret 1\r\nPING\r\n")]),
    ("only deny", PERMITTED,
        [("e", user("e")), ("e", b"SUB foo.secret 1\r\nSUB foo.* 2\r\nSUB > 3\r\nPING\r\n"),
         ("x", user("all")), ("x", b"PUB foo.secret 1\r\nx\r\nPUB foo.ok 1\r\ny\r\nPING\r\n")]),
    ("queue permission", PERMITTED,
        [("c", user("c")), ("c", b"SUB q A 1\r\nPING\r\n"), ("c", b"SUB q bad 2\r\nPING\r\n"),
         ("c", b"SUB q 3\r\nPING\r\n"), ("c", b"SUB q.x B1 4\r\nPING\r\n"), ("c", b"SUB q.x C 5\r\nPING\r\n")]),
    ("reply allowed once", PERMITTED,
        [("d", user("d")), ("d", b"SUB service 1\r\nPING\r\n"),
         ("x", user("all")), ("x", b"SUB r.* 1\r\nPUB service r.1 1\r\nx\r\nPING\r\n"),
         ("d", b"PUB r.1 1\r\ny\r\nPING\r\n"), ("d", b"PUB r.1 1\r\nz\r\nPING\r\n"),
         ("d", b"PUB r.2 1\r\nz\r\nPING\r\n")]),
    ("request whose reply may not be published to", PERMITTED,
        [("a", user("a")), ("a", b"PUB foo no.reply 1\r\nx\r\nPING\r\n")]),
    ("wrong user of many", PERMITTED, [("a", b'CONNECT {"user":"a","pass":"b"}\r\nPING\r\n')]),
]
