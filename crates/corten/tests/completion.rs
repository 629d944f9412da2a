//! The completion scripts, in the shells that they are for.

mod common;

use std::process::Command;

use common::pty::Terminal;
use common::text;

fn script(dir: &tempfile::TempDir, shell: &str) -> std::path::PathBuf {
    let output = Command::new(env!("CARGO_BIN_EXE_corten")).args(["completion", shell]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let path = dir.path().join(format!("corten.{shell}"));
    std::fs::write(&path, output.stdout).unwrap();
    path
}

/// The shell, unless the machine has none.
fn shell(name: &str) -> Option<()> {
    let found =
        Command::new(name).args(["-c", "exit 0"]).output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: needs {name} (cargo xtask deps)");
    }
    found.then_some(())
}

/// What stands at the end of a line, and what has to be among its completions, and what not.
const CASES: [(&str, &[&str], &[&str]); 6] = [
    ("corten ru", &["run"], &["rmi"]),
    ("corten container ", &["inspect", "ls", "rm", "run"], &["import"]),
    ("corten run --cap-", &["--cap-add", "--cap-drop"], &["--cpus", "--force"]),
    ("corten image ls --", &["--all", "--format", "--quiet"], &["--cap-add"]),
    ("corten rm --f", &["--force"], &["--volumes"]),
    ("corten --", &["--root", "--run-root", "--version"], &["--cap-add"]),
];

#[test]
fn bash() {
    let Some(_) = shell("bash") else { return };
    let dir = tempfile::tempdir().unwrap();
    // As readline calls it: the words, the place in them, and the function that `complete` names.
    let driver = r#"source "$1"; shift
        spec=$(complete -p corten); function=${spec##* -F }; function=${function%% *}
        COMP_LINE=$1 COMP_POINT=${#1}; read -ra COMP_WORDS <<< "$1"
        [[ $1 == *' ' ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        "$function" corten "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let script = script(&dir, "bash");
    for (line, wanted, unwanted) in CASES {
        let output = Command::new("bash")
            .args(["--norc", "-c", driver, "driver"])
            .arg(&script)
            .arg(line)
            .output()
            .unwrap();
        assert_eq!(text(&output.stderr), "", "{line}");
        let found = text(&output.stdout);
        check(line, &found.lines().collect::<Vec<_>>(), wanted, unwanted);
    }
}

#[test]
fn fish() {
    let Some(_) = shell("fish") else { return };
    let dir = tempfile::tempdir().unwrap();
    let script = script(&dir, "fish");
    for (line, wanted, unwanted) in CASES {
        let output = Command::new("fish")
            .args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"])
            .arg(&script)
            .arg(line)
            .env("HOME", dir.path())
            .output()
            .unwrap();
        assert_eq!(text(&output.stderr), "", "{line}");
        // A tab and a description follow each word.
        let found = text(&output.stdout);
        let found: Vec<&str> = found.lines().filter_map(|line| line.split('\t').next()).collect();
        check(line, &found, wanted, unwanted);
    }
}

#[test]
fn zsh() {
    let Some(_) = shell("zsh") else { return };
    let dir = tempfile::tempdir().unwrap();
    let script = script(&dir, "zsh");
    let mut terminal = Terminal::new(50, 200);
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-i"]);
    terminal.run(&zsh);
    // No decoration, and each line of this test ends with a mark that is not in what was typed.
    terminal.type_in(
        "PS1='> ' PROMPT_EOL_MARK= TERM=dumb; unsetopt zle_bracketed_paste prompt_sp list_ambiguous\r",
    );
    terminal.type_in(&format!(
        "autoload -U compinit; compinit -D -u; source {}; echo rea''dy\r",
        script.display()
    ));
    terminal.expect("ready\r\n");
    // What is typed and completed is printed instead of being run.
    terminal.type_in("corten() { print -r -- \"did:$*:\"; }\r");
    for (typed, becomes) in [
        ("corten ru\t", "did:run:"),
        ("corten container ins\t", "did:container inspect:"),
        ("corten rm --fo\t", "did:rm --force:"),
        ("corten run --cap-a\t", "did:run --cap-add:"),
    ] {
        terminal.type_in(typed);
        terminal.type_in("\r");
        terminal.expect(becomes);
    }
    terminal.type_in("exit\r");
    terminal.wait();
}

fn check(line: &str, found: &[&str], wanted: &[&str], unwanted: &[&str]) {
    for word in wanted {
        assert!(found.contains(word), "{line:?} has no {word}: {found:?}");
    }
    for word in unwanted {
        assert!(!found.contains(word), "{line:?} has {word}: {found:?}");
    }
}
