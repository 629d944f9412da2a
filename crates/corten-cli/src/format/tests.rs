//! What Go 1.24 and docker 28 say of the same template and data.

use serde_json::{Value, json};

use super::{Missing, Template};

fn data() -> Value {
    json!({
        "Id": "0123456789abcdef0123",
        "Name": "/web",
        "Count": 3,
        "Zero": 0,
        "Half": 0.5,
        "Big": 1e21,
        "Yes": true,
        "No": false,
        "Null": null,
        "Args": ["sh", "-c", "echo hi"],
        "None": [],
        "State": {"Status": "running", "Running": true, "Pid": 42, "ExitCode": 0},
        "Config": {
            "Labels": {"com.example.a": "1", "b": "<two>"},
            "Env": ["PATH=/bin", "A=b"],
            "NoLabels": null,
            "User": ""
        },
        "NetworkSettings": {
            "Networks": {"bridge": {"IPAddress": "172.17.0.2", "Gateway": "172.17.0.1"}, "a": {"IPAddress": "", "G": 1}},
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": null}
        },
        "Mounts": [
            {"Type": "bind", "Source": "/a", "Destination": "/b", "RW": true},
            {"Type": "volume", "Name": "v", "Source": "/v", "Destination": "/c", "RW": false}
        ],
        "Text": "hello, world",
        "Quote": "a\"b'c<d>&e=f\\"
    })
}

fn run(source: &str) -> Result<String, String> {
    Template::parse(source).and_then(|t| t.execute(&data(), Missing::Key)).map_err(|error| error.to_string())
}

#[test]
fn what_it_says() {
    let cases: &[(&str, &str)] = &[
        // Text, trimming, comments.
        ("plain", "plain"),
        ("{{.Name}}", "/web"),
        ("a {{- .Name -}} b", "a/webb"),
        ("a \n {{- /* no */ -}} \n b", "ab"),
        ("{{/* a {{comment}} */}}x", "x"),
        ("{{ .Count -}} }", "3}"),
        ("{{3 -}} x{{- 4}}", "3x4"),
        ("{{\"{{\"}}", "{{"),
        // Docker's documentation of inspect.
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "172.17.0.2"),
        (
            "{{range $p, $conf := .NetworkSettings.Ports}} {{$p}} -> {{if $conf}}{{(index $conf 0).HostPort}}{{end}} {{end}}",
            " 53/udp ->   80/tcp -> 8080 ",
        ),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{json .State}}", r#"{"ExitCode":0,"Pid":42,"Running":true,"Status":"running"}"#),
        ("{{join .Args \" , \"}}", "sh , -c , echo hi"),
        ("{{lower \"ABC\"}}{{upper .Text}}", "abcHELLO, WORLD"),
        ("{{title .Text}}", "Hello, World"),
        ("{{range split .Text \",\"}}[{{.}}]{{end}}", "[hello][ world]"),
        ("{{split .Text \",\"}}", "[hello  world]"),
        ("{{println .Id}}", "0123456789abcdef0123\n"),
        ("{{range .Args}}{{println .}}{{end}}", "sh\n-c\necho hi\n"),
        ("{{slice .Id 0 12}}", "0123456789ab"),
        ("{{truncate .Id 5}}", "01234"),
        ("{{pad .Name 2 3}}|{{pad \"\" 1 1}}|", "  /web   ||"),
        ("{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}}{{end}}{{end}}", "v"),
        ("{{index .Config.Labels \"com.example.a\"}}", "1"),
        ("{{index .Config.Labels \"missing\"}}|", "|"),
        ("{{index .Config.NoLabels \"missing\"}}|", "|"),
        ("{{.State.Status}} {{.State.ExitCode}}", "running 0"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "b=<two>;com.example.a=1;"),
        ("{{range .Config.Env}}{{with split . \"=\"}}{{index . 0}} {{end}}{{end}}", "PATH A "),
        // Values as %v prints them.
        ("{{.Args}}", "[sh -c echo hi]"),
        ("{{.Config.Labels}}", "map[b:<two> com.example.a:1]"),
        ("{{.Null}}", "<no value>"),
        ("{{.Half}} {{.Big}} {{1e3}} {{0x10}} {{'a'}} {{1_000}}", "0.5 1e+21 1000 16 97 1000"),
        ("{{true}} {{nil | print}}", "true <nil>"),
        ("{{.Config.Labels.missing}}", "<no value>"),
        // Conditions.
        ("{{if .Yes}}a{{else}}b{{end}}{{if .No}}a{{else}}b{{end}}", "ab"),
        ("{{if .No}}a{{else if .Zero}}b{{else if .Yes}}c{{else}}d{{end}}", "c"),
        ("{{with .Config}}{{with .User}}{{.}}{{else}}nobody{{end}}{{end}}", "nobody"),
        ("{{with .No}}a{{else with .Yes}}{{.}}{{end}}", "true"),
        ("{{if and .Yes .Count}}y{{end}}{{if or .No .Zero}}n{{end}}{{if not .No}}y{{end}}", "yy"),
        ("{{and .Yes 0 .Nope.X}} {{or 0 \"x\" .Nope.X}}", "0 x"),
        ("{{if and (eq .Count 3) (ne .Name \"x\")}}y{{end}}", "y"),
        (
            "{{eq .Count 1 2 3}} {{lt 1 2}} {{le 2 2}} {{gt 1.5 1}} {{ge \"a\" \"b\"}}",
            "true true true true false",
        ),
        // Ranges.
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ("{{range .Null}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $e := .Args}}{{if $i}},{{end}}{{$e}}{{end}}", "sh,-c,echo hi"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range .Args}}{{if eq . \"-c\"}}{{break}}{{end}}{{.}}{{end}}", "sh"),
        ("{{range .Args}}{{if eq . \"-c\"}}{{continue}}{{end}}{{.}}.{{end}}", "sh.echo hi."),
        ("{{range .Args}}{{$.Name}}{{end}}", "/web/web/web"),
        // Variables.
        ("{{$x := 1}}{{$x}}{{$x = 2}}{{$x}}", "12"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ("{{with $s := .State}}{{$s.Pid}}{{end}}", "42"),
        ("{{$last := \"\"}}{{range .Args}}{{$last = .}}{{end}}{{$last}}", "echo hi"),
        // Pipelines and parentheses.
        ("{{.Name | printf \"%s-%s\" \"x\"}}", "x-/web"),
        ("{{.Args | len}} {{len .Text}} {{len .Config.Labels}}", "3 12 2"),
        ("{{(index .Args 0) | upper | printf \"%q\"}}", "\"SH\""),
        ("{{(.State).Status}}", "running"),
        ("{{.Text | truncate 3 | len}}", "error"),
        ("{{index .Mounts 1 \"Name\"}}", "v"),
        ("{{slice .Args 1}} {{slice .Args 1 2}}", "[-c echo hi] [-c]"),
        // printf.
        ("{{printf \"%d|%5d|%-5d|%05d|%+d|%x|%X\" 7 7 7 7 7 255 255}}", "7|    7|7    |00007|+7|ff|FF"),
        (
            "{{printf \"%s|%8s|%-8s|%.2s|%q\" \"abc\" \"abc\" \"abc\" \"abc\" \"a\\n\"}}",
            "abc|     abc|abc     |ab|\"a\\n\"",
        ),
        ("{{printf \"%.2f|%6.1f|%e|%g\" 1.5 2.25 1500.0 0.1}}", "1.50|   2.2|1.500000e+03|0.1"),
        ("{{printf \"%v %t %T %%\" .Args .Yes .Count}}", "[sh -c echo hi] true int %"),
        (
            "{{printf \"%d\" \"x\"}} {{printf \"%s\" 1}} {{printf \"%d\"}} {{printf \"a\" 1}}",
            "%!d(string=x) %!s(int=1) %!d(MISSING) a%!(EXTRA int=1)",
        ),
        ("{{print 1 2 \"a\" \"b\" 3}} {{print \"x\" 1}}", "1 2ab3 x1"),
        // Escapes.
        ("{{html .Quote}}", "a&#34;b&#39;c&lt;d&gt;&amp;e=f\\"),
        ("{{js .Quote}}", "a\\\"b\\'c\\u003Cd\\u003E\\u0026e\\u003Df\\\\"),
        ("{{urlquery \"a b&c=d/é\"}}", "a+b%26c%3Dd%2F%C3%A9"),
        ("{{json .Config.Labels}}", r#"{"b":"<two>","com.example.a":"1"}"#),
        // Definitions.
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Name}}{{template \"t\"}}", "</web><no value>>"),
        ("{{block \"b\" .Count}}[{{.}}]{{end}}{{template \"b\" 1}}", "[3][1]"),
        ("{{`raw \\n`}}{{\"\\u00e9\\x41\\t\"}}", "raw \\néA\t"),
    ];
    for (source, want) in cases {
        match run(source) {
            Ok(got) => {
                let want = want.replace("</web><no value>>", "</web><<no value>>");
                assert_eq!(got, want, "{source}");
            }
            Err(error) => assert_eq!(*want, "error", "{source}: {error}"),
        }
    }
}

#[test]
fn how_it_fails() {
    let parse = "template parsing error: template: :1: ";
    for (source, want) in [
        ("{{", "unclosed action"),
        ("{{.Name", "unclosed action"),
        ("{{.Name}", "unrecognized character in action: U+007D '}'"),
        ("{{}}", "missing value for command"),
        ("{{.A | }}", "missing value for command"),
        ("{{nope .A}}", "function \"nope\" not defined"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{$x = 1}}", "undefined variable \"$x\""),
        ("{{if .A}}", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{if .A}}{{else}}{{else}}{{end}}", "expected end; found {{else}}"),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{\"abc}}", "unterminated quoted string"),
        ("{{`abc}}", "unterminated raw quoted string"),
        ("{{'ab'}}", "unterminated character constant"),
        ("{{/* x }}", "unclosed comment"),
        ("{{(.A}}", "unclosed left paren"),
        ("{{.A)}}", "unexpected right paren"),
        ("{{1x}}", "bad number syntax: \"1x\""),
        ("{{.A | \"x\"}}", "non executable command in pipeline stage 2"),
        ("{{range}}x{{end}}", "missing value for range"),
        ("{{@}}", "unrecognized character in action: U+0040 '@'"),
    ] {
        assert_eq!(run(source).unwrap_err(), format!("{parse}{want}"), "{source}");
    }
    for (source, want) in [
        ("{{.Nope}}", ":1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        ("a\nb{{.State.Nope}}", ":2:3: executing \"\" at <.State.Nope>: map has no entry for key \"Nope\""),
        ("{{.Name.X}}", ":1:2: executing \"\" at <.Name.X>: can't evaluate field X in type string"),
        ("{{index .Args 9}}", ":1:2: executing \"\" at <index>: error calling index: index out of range: 9"),
        ("{{template \"x\"}}", ":1:2: executing \"\" at <>: template \"x\" not defined"),
        (
            "{{eq .Name 1}}",
            ":1:2: executing \"\" at <eq>: error calling eq: incompatible types for comparison",
        ),
        ("{{.Name 1}}", ":1:2: executing \"\" at <.Name>: Name is not a method but has arguments"),
        ("{{lower}}", ":1:2: executing \"\" at <lower>: wrong number of args for lower: want 1 got 0"),
        ("{{range .Name}}{{end}}", ":1:8: executing \"\" at <.Name>: range can't iterate over /web"),
    ] {
        assert_eq!(run(source).unwrap_err(), format!("template parsing error: template: {want}"), "{source}");
    }
}

#[test]
fn bounded() {
    for source in [
        "{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}".to_owned(),
        "{{range 1000000}}{{range 1000000}}{{end}}{{end}}".to_owned(),
        "{{range 1000000}}{{printf \"%4096d\" 1}}{{end}}".to_owned(),
        "{{(".repeat(1000),
        "(".repeat(10_000).replace('(', "{{if 1}}"),
        format!("{{{{{}1{}}}}}", "(".repeat(1000), ")".repeat(1000)),
        format!("{{{{$x := \"aaaaaaaaaaaaaaaa\"}}}}{}", "{{$x = print $x $x}}".repeat(40)),
    ] {
        assert!(run(&source).is_err(), "{}", &source[..source.len().min(60)]);
    }
    // Widths are cut, not obeyed.
    assert!(run("{{printf \"%999999999d\" 1}}").unwrap().len() <= 4096);
}

proptest::proptest! {
    #[test]
    fn never_panics(source in r#"(\{\{-?|-?\}\}|\.[A-Z][a-z]*|\$x|:=|=|\||\(|\)|"|`|'|,| |range|if|with|end|else|define|index|printf|eq|and|[0-9]+|-|é|/\*|\*/){0,30}"#) {
        let _ = run(&source);
    }
}
