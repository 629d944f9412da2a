use super::*;
use crate::devices::{Access, DeviceKind};
use crate::resources::{Cpu, HugepageLimit, Memory, Pids};

const V1: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
";
const UNIFIED: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

fn layout(mountinfo: &str, controllers: &str) -> Layout {
    let mut layout = Layout::parse_mountinfo(mountinfo).unwrap();
    if let Some(unified) = &mut layout.unified {
        unified.controllers = Controllers::parse(controllers, |c| c == ' ');
    }
    layout
}

fn v2() -> Layout {
    layout(&UNIFIED.replace("/unified", ""), "cpuset cpu io memory pids")
}

fn path() -> CgroupPath {
    CgroupPath::new("corten/4f2a").unwrap()
}

fn limits() -> Resources {
    Resources {
        memory: Some(Memory { limit: Some(536_870_912), ..Memory::default() }),
        pids: Some(Pids { limit: Some(512) }),
        ..Resources::default()
    }
}

fn shell(layout: &Layout, resources: &Resources) -> String {
    Plan::new(layout, &path(), resources).unwrap().to_string()
}

#[test]
fn v1_joins_what_it_needs_and_comounted_once() {
    assert_eq!(
        shell(&layout(V1, ""), &limits()),
        "\
mkdir -p /sys/fs/cgroup/cpu,cpuacct/corten/4f2a
mkdir -p /sys/fs/cgroup/memory/corten/4f2a
mkdir -p /sys/fs/cgroup/devices/corten/4f2a
mkdir -p /sys/fs/cgroup/freezer/corten/4f2a
mkdir -p /sys/fs/cgroup/pids/corten/4f2a
mkdir -p /sys/fs/cgroup/systemd/corten/4f2a
echo 536870912 > /sys/fs/cgroup/memory/corten/4f2a/memory.limit_in_bytes
echo 512 > /sys/fs/cgroup/pids/corten/4f2a/pids.max
"
    );
}

#[test]
fn a_hybrid_host_freezes_by_cgroup2() {
    let text = shell(&layout(&format!("{V1}{UNIFIED}"), "hugetlb"), &limits());
    assert!(
        !text.contains("freezer") && !text.contains("systemd") && !text.contains("subtree_control"),
        "{text}"
    );
    assert!(text.contains("mkdir -p /sys/fs/cgroup/unified/corten/4f2a\n"), "{text}");
}

#[test]
fn a_hybrid_host_has_its_leftover_controllers_on_cgroup2() {
    let hugetlb = Resources {
        hugepage_limits: vec![HugepageLimit { page_size: "2MB".into(), limit: 1 << 21 }],
        ..Resources::default()
    };
    let text = shell(&layout(&format!("{V1}{UNIFIED}"), "hugetlb"), &hugetlb);
    let end = "\
echo '+hugetlb' > /sys/fs/cgroup/unified/cgroup.subtree_control
echo '+hugetlb' > /sys/fs/cgroup/unified/corten/cgroup.subtree_control
echo 2097152 > /sys/fs/cgroup/unified/corten/4f2a/hugetlb.2MB.max
[ ! -e /sys/fs/cgroup/unified/corten/4f2a/hugetlb.2MB.rsvd.max ] || echo 2097152 > /sys/fs/cgroup/unified/corten/4f2a/hugetlb.2MB.rsvd.max
";
    assert!(text.ends_with(end), "{text}");
    let e = Plan::new(&layout(V1, ""), &path(), &hugetlb).unwrap_err();
    assert_eq!(
        e.to_string(),
        "hugepageLimits: controller hugetlb is not available in any cgroup hierarchy of this host"
    );
}

#[test]
fn v1_cpuset_is_filled_from_above() {
    let cpus =
        Resources { cpu: Some(Cpu { cpus: Some("0-1".into()), ..Cpu::default() }), ..Resources::default() };
    let text = shell(&layout(V1, ""), &cpus);
    let c = "/sys/fs/cgroup/cpuset";
    let mut expected = format!("mkdir -p {c}/corten/4f2a\n");
    for (above, dir) in [("", "/corten"), ("/corten", "/corten/4f2a")] {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (format!("{c}{above}/{file}"), format!("{c}{dir}/{file}"));
            expected.push_str(&format!("[ -n \"$(cat {to})\" ] || cat {from} > {to}\n"));
        }
    }
    assert!(text.contains(&expected), "{text}");
    assert!(text.ends_with("echo 0-1 > /sys/fs/cgroup/cpuset/corten/4f2a/cpuset.cpus\n"), "{text}");
}

#[test]
fn v2_is_one_directory() {
    let mut r = limits();
    r.cpu = Some(Cpu { shares: Some(1024), quota: Some(50_000), period: Some(100_000), ..Cpu::default() });
    r.unified.insert("memory.high".into(), "1000000".into());
    r.devices = vec![DeviceRule {
        allow: true,
        kind: DeviceKind::Char,
        major: Some(1),
        minor: Some(3),
        access: Access::ALL,
    }];
    assert_eq!(
        shell(&v2(), &r),
        "\
mkdir -p /sys/fs/cgroup/corten/4f2a
echo '+cpu +memory +pids +io' > /sys/fs/cgroup/cgroup.subtree_control
echo '+cpu +memory +pids +io' > /sys/fs/cgroup/corten/cgroup.subtree_control
echo 100 > /sys/fs/cgroup/corten/4f2a/cpu.weight
echo '50000 100000' > /sys/fs/cgroup/corten/4f2a/cpu.max
echo 536870912 > /sys/fs/cgroup/corten/4f2a/memory.max
echo 512 > /sys/fs/cgroup/corten/4f2a/pids.max
echo 1000000 > /sys/fs/cgroup/corten/4f2a/memory.high
\"$corten\" internal device-filter /sys/fs/cgroup/corten/4f2a 'allow c 1:3 rwm'
"
    );
}

#[test]
fn what_a_host_lacks_is_named() {
    let rdma = Resources { rdma: [("mlx5_1".to_owned(), Default::default())].into(), ..Resources::default() };
    let e = Plan::new(&v2(), &path(), &rdma).unwrap_err();
    assert_eq!(e.to_string(), "rdma: controller rdma is not available in /sys/fs/cgroup");
    assert!(e.hint().unwrap().contains("`+rdma`"));
    let unified =
        Resources { unified: [("misc.max".to_owned(), "1".to_owned())].into(), ..Resources::default() };
    assert!(Plan::new(&v2(), &path(), &unified).unwrap_err().to_string().contains("controller misc"));
    assert!(matches!(Plan::new(&layout(V1, ""), &path(), &unified), Err(Error::Unsupported { .. })));
    let swappiness = Resources {
        memory: Some(Memory { swappiness: Some(10), ..Memory::default() }),
        ..Resources::default()
    };
    assert!(Plan::new(&v2(), &path(), &swappiness).is_err());
    assert!(Plan::new(&layout(V1, ""), &path(), &swappiness).is_ok());
}

#[test]
fn attach_is_one_write_a_hierarchy() {
    let plan = Plan::new(&v2(), &path(), &limits()).unwrap();
    let lines: Vec<_> = plan.attach("$PID").iter().map(CgroupOp::to_string).collect();
    assert_eq!(lines, ["echo $PID > /sys/fs/cgroup/corten/4f2a/cgroup.procs"]);
}

#[test]
fn an_update_writes_only_limits() {
    let layout = layout(V1, "");
    let present = Plan::new(&layout, &path(), &limits()).unwrap().members;
    let update = Plan::update(&layout, &path(), &present, &limits()).unwrap();
    assert!(update.ops.iter().all(|op| matches!(op, CgroupOp::Write { .. })), "{update}");
    assert_eq!(update.members, present);
    // A controller that was not needed before is joined.
    let cpus =
        Resources { cpu: Some(Cpu { cpus: Some("0".into()), ..Cpu::default() }), ..Resources::default() };
    let update = Plan::update(&layout, &path(), &present, &cpus).unwrap();
    assert_eq!(update.members.len(), present.len() + 1);
    assert!(matches!(&update.ops[0], CgroupOp::Mkdir { mount, .. } if mount.ends_with("cpuset")));
}

#[test]
fn shell_is_quoted() {
    assert_eq!(quote("a b"), "'a b'");
    assert_eq!(quote("it's"), r"'it'\''s'");
    assert_eq!(quote("$(id)"), "'$(id)'");
    assert_eq!(quote(""), "''");
}

#[test]
fn a_scope_is_a_call_to_systemd_and_the_same_files() {
    let systemd = crate::Systemd { bus: crate::systemd::SYSTEM_BUS.into(), user: None };
    let scope = systemd.scope("machine.slice", "4f2a").unwrap();
    let plan = Plan::in_scope(&v2(), scope, &limits()).unwrap();
    assert!(plan.needs_process() && plan.join_files().is_empty());
    assert_eq!(
        plan.to_string(),
        "\
busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \
StartTransientUnit 'ssa(sv)a(sa(sv))' 'corten-4f2a.scope' fail 12 Description 's' 'Corten container' \
Slice 's' 'machine.slice' Delegate 'b' true PIDs 'au' 1 $PID DefaultDependencies 'b' false \
CollectMode 's' 'inactive-or-failed' CPUAccounting 'b' true MemoryAccounting 'b' true \
TasksAccounting 'b' true IOAccounting 'b' true MemoryMax 't' 536870912 TasksMax 't' 512 0
until [ -d '/sys/fs/cgroup/machine.slice/corten-4f2a.scope' ]; do sleep 0.01; done
grep -qw memory /sys/fs/cgroup/machine.slice/corten-4f2a.scope/cgroup.controllers
grep -qw pids /sys/fs/cgroup/machine.slice/corten-4f2a.scope/cgroup.controllers
echo 536870912 > /sys/fs/cgroup/machine.slice/corten-4f2a.scope/memory.max
echo 512 > /sys/fs/cgroup/machine.slice/corten-4f2a.scope/pids.max
"
    );
    // On v1 systemd leaves some hierarchies to us.
    let scope = systemd.scope("machine.slice", "4f2a").unwrap();
    let text = Plan::in_scope(&layout(V1, ""), scope, &limits()).unwrap().to_string();
    assert!(text.contains("mkdir -p /sys/fs/cgroup/freezer/machine.slice/corten-4f2a.scope\n"), "{text}");
    assert!(text.contains(" MemoryLimit 't' 536870912 "), "{text}");
}
