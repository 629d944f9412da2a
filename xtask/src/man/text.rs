//! What the manual pages say beyond the tables of the command line.

/// The prose of one page.
pub struct Text {
    /// Paragraphs.
    pub description: &'static [&'static str],
    /// If it differs from [`EXIT_STATUS`].
    pub exit_status: &'static [(&'static str, &'static str)],
    pub files: &'static [(&'static str, &'static str)],
    /// What it does, and the line.
    pub examples: &'static [(&'static str, &'static str)],
    pub see_also: &'static [&'static str],
}

const NOTHING: Text = Text { description: &[], exit_status: &[], files: &[], examples: &[], see_also: &[] };

/// Of most commands.
pub const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "Success."),
    ("1", "The command failed; the error says what and why."),
    ("125", "The command line could not be understood."),
];

pub fn of(name: &str) -> Option<&'static Text> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| text)
}

/// By the name of the page.
pub const ALL: &[(&str, Text)] = &[
    (
        "corten",
        Text {
            description: &[
                "Corten runs containers from images. Its command line is Docker's. There is no daemon: each command \
                 does its work itself on directories that all of them share, and a small process stays beside each \
                 running container.",
                "Root in a container is nobody on the host: each container has a block of user ids of its own, \
                 unless --userns host, --pid host or --privileged asks for less.",
                "A switch such as --detach takes =false to turn it off. A flag of Docker's that is not supported is \
                 refused by name.",
            ],
            files: &[
                (
                    "/var/lib/corten",
                    "Images, layers and containers; an OCI image layout. --root puts it elsewhere.",
                ),
                ("/run/corten", "What does not outlive a boot. --run-root puts it elsewhere."),
            ],
            examples: &[
                (
                    "A shell on the programs of this machine, under a layer that is thrown away:",
                    "corten run --rm -it host sh",
                ),
                (
                    "An image from a directory, and a command in it:",
                    "tar -C rootfs -c . | corten import - mine\ncorten run --rm mine ls /",
                ),
            ],
            see_also: &["corten-run"],
            ..NOTHING
        },
    ),
    (
        "corten-run",
        Text {
            description: &[
                "Makes a container from an image, starts its command, and stays attached to it: what the command \
                 writes is written, signals are passed on, and its exit code becomes that of corten. With --detach \
                 the id of the container is printed instead. A container goes on when corten is killed.",
                "The image is looked for in the store; nothing is pulled. The image host stands for the programs of \
                 this machine: /usr and its like, the package database, and of /etc what programs need. It can be \
                 written over and deleted from; that lives in a layer of the container alone. What other users of \
                 the machine may not read cannot be read in it.",
                "Without --network a container has a loopback interface and nothing else.",
                "With --tty the command has a terminal of its own. With --interactive as well, what is typed goes \
                 there as it is, control characters included, and the size of the window follows. The keys of \
                 --detach-keys (ctrl-p,ctrl-q) leave the container running and end corten with 0; they are written \
                 as single characters, as ctrl- with a small letter or one of @ [ \\ ] ^ _, or as DEL, with commas \
                 between them.",
                "A volume is SOURCE:PLACE[:OPTIONS] with absolute paths. Options are ro, rw, nomap (the ids of the host, \
                 unshifted), nosuid, nodev, noexec, and the propagation of mount(8).",
            ],
            exit_status: &[
                ("125", "Corten failed; the error says at what."),
                ("126", "The command cannot be executed."),
                ("127", "The command is not there."),
                (
                    "128+n",
                    "Signal n ended the command. 137 with a word about memory: the kernel, for its limit.",
                ),
                ("1", "--interactive and --tty were given and standard input is no terminal."),
                ("0", "Also: it was detached from by --detach or by the keys."),
                ("any other", "The command's own."),
            ],
            files: &[
                ("/var/lib/corten/containers/ID", "What a container that was not started with --rm leaves."),
                (
                    "/var/lib/corten/host-image",
                    "What is known of the programs of this machine; may be deleted.",
                ),
            ],
            examples: &[
                ("A command, once:", "corten run --rm busybox ls /"),
                ("A shell at a terminal:", "corten run --rm -it busybox"),
                ("A filter in a pipe:", "echo hello | corten run --rm -i busybox cat"),
                (
                    "In the background, with limits:",
                    "corten run -d --name web -m 64m --pids-limit 20 --cpus 0.5 busybox sleep 1000",
                ),
                (
                    "Nothing can be written but /tmp and a directory of the host:",
                    "corten run --rm --read-only --tmpfs /tmp -v /srv/data:/data busybox sh -c 'date > /data/now'",
                ),
            ],
            see_also: &["corten-ps", "corten-inspect", "corten-rm", "corten-import", "corten-load"],
        },
    ),
    (
        "corten-ps",
        Text {
            description: &[
                "Lists the containers that run, newest first; with --all also those that have ended or were never \
                 started.",
            ],
            examples: &[
                ("All, with what made them end:", "corten ps -a"),
                ("Names and states alone:", "corten ps -a --format '{{.Names}} {{.Status}}'"),
            ],
            see_also: &["corten-run", "corten-inspect"],
            ..NOTHING
        },
    ),
    (
        "corten-rm",
        Text {
            description: &[
                "Removes containers by name, by id or by the beginning of an id that no other has. One that runs is \
                 only removed with --force, which kills it.",
            ],
            examples: &[("Every container, whether it runs or not:", "corten rm -f $(corten ps -aq)")],
            see_also: &["corten-ps"],
            ..NOTHING
        },
    ),
    (
        "corten-images",
        Text {
            description: &["Lists the images of the store, newest first."],
            see_also: &["corten-rmi", "corten-import", "corten-load"],
            ..NOTHING
        },
    ),
    (
        "corten-import",
        Text {
            description: &[
                "Makes an image of one layer from a root file system as tar, which may be compressed by gzip or zstd. \
                 - reads standard input. The id of the image is printed.",
                "What the archive holds is not trusted: no name leads out of the layer, sizes are bounded, and what \
                 could not be kept is counted or refused.",
            ],
            examples: &[
                ("From a directory:", "tar -C rootfs -c . | corten import - mine"),
                ("With a command of its own:", "corten import --change 'CMD [\"sh\"]' rootfs.tar.gz mine:1"),
            ],
            see_also: &["corten-load", "corten-images", "corten-run"],
            ..NOTHING
        },
    ),
    (
        "corten-load",
        Text {
            description: &[
                "Takes in images that another program saved: docker-archive or OCI layout, as a tar archive, which may \
                 be compressed by gzip or zstd, or as a directory. Without --input it reads standard input.",
            ],
            examples: &[
                ("From an archive:", "corten load -i image.tar"),
                (
                    "From a registry, by skopeo:",
                    "skopeo copy docker://busybox oci-archive:image.tar:busybox\ncorten load -i image.tar",
                ),
            ],
            see_also: &["corten-import", "corten-images"],
            ..NOTHING
        },
    ),
    (
        "corten-rmi",
        Text {
            description: &[
                "Removes names of images; with the last name of an image go its layers and blobs that no other image \
                 uses. What was removed is listed.",
            ],
            see_also: &["corten-images"],
            ..NOTHING
        },
    ),
    (
        "corten-inspect",
        Text {
            description: &[
                "Prints what is known of containers and images as JSON, or what --format, a template of Go, picks of \
                 it.",
            ],
            examples: &[("One field:", "corten inspect -f '{{.State.Status}}' web")],
            see_also: &["corten-ps", "corten-images"],
            ..NOTHING
        },
    ),
    (
        "corten-completion",
        Text {
            description: &["Prints a script that completes commands and flags in bash, zsh or fish."],
            examples: &[
                ("For this shell of bash:", "source <(corten completion bash)"),
                (
                    "For all users:",
                    "corten completion bash > /usr/share/bash-completion/completions/corten\n\
                     corten completion zsh > /usr/share/zsh/vendor-completions/_corten\n\
                     corten completion fish > /usr/share/fish/vendor_completions.d/corten.fish",
                ),
            ],
            ..NOTHING
        },
    ),
];
