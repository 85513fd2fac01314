"""A network of namespaces in which links between chosen servers can be cut, one way or both, slowed down and made lossy.

Every server has a namespace with one interface on a bridge; the suite's own namespace is on the bridge, too, and is where the
clients are. Packets from A to B are lost by giving A a wrong hardware address for B: the kernel of A sends them and nobody
takes them, which is what a broken link looks like and needs neither a firewall nor its modules.

`enter()` runs the program again in namespaces of its own, as root or with a user namespace, so that nothing of it is seen outside
or stays behind. Where that is not allowed it says why, and the suite goes on without a network.
"""
import os
import random
import shutil
import subprocess
import sys
import threading

# The option with which the program is run again.
ENTERED = "--in-namespaces"
NOWHERE = "02:77:00:00:00:ff"


def run(*command, check=True):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and done.returncode:
        raise OSError("%s: %s" % (" ".join(command), done.stdout.strip()))
    return done


def enter(entered):
    """Continues in new namespaces; returns None there (`entered`), or the reason why that is impossible."""
    if entered:
        try:
            if not os.path.isdir("/run/netns"):
                run("mount", "-t", "tmpfs", "tmpfs", "/run")
                os.mkdir("/run/netns")
            run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
            run("ip", "link", "set", "lo", "up")
            run("ip", "link", "add", "probe", "type", "bridge")
            run("ip", "link", "del", "probe")
            run("ip", "netns", "add", "probe")
            run("ip", "netns", "exec", "probe", "true")
            run("ip", "netns", "del", "probe")
        except OSError as why:
            return str(why)
        return None
    for program in ("unshare", "ip", "tc"):
        if not shutil.which(program):
            return "there is no program %s" % program
    ways = [["unshare", "--net", "--mount"], ["unshare", "--user", "--map-root-user", "--net", "--mount"]]
    why = ""
    for way in ways:
        done = run(*way, "true", check=False)
        if done.returncode == 0:
            os.execvp(way[0], [*way, sys.executable, *sys.argv, ENTERED])
        why = done.stdout.strip()
    return why


class Network:
    """Namespaces s1..sN with the addresses `address(i)`; links are named by the numbers of their ends."""

    def __init__(self, count):
        self.count, self.flaky = count, None
        run("ip", "link", "add", "zk", "type", "bridge")
        run("ip", "address", "add", "10.77.0.254/24", "dev", "zk")
        run("ip", "link", "set", "zk", "up")
        for i in self.numbers():
            name, outside = "s%d" % i, "zk%d" % i
            run("ip", "netns", "add", name)
            run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", outside, "master", "zk", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "link", "set", "eth0", "address", self.hardware(i), "up")
            run("ip", "-n", name, "address", "add", self.address(i) + "/24", "dev", "eth0")
        for i in self.numbers():
            self.heal_from(i)
        # Whether the kernel can delay and lose single packets.
        self.netem = run("ip", "netns", "exec", "s1", "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "1ms",
                         check=False).returncode == 0
        self.fast()

    def numbers(self):
        return range(1, self.count + 1)

    @staticmethod
    def address(i):
        return "10.77.0.%d" % i

    @staticmethod
    def hardware(i):
        return "02:77:00:00:00:%02x" % i

    def prefix(self, i):
        """The words before a command that run it at server i."""
        return ("ip", "netns", "exec", "s%d" % i)

    def _neighbour(self, of, other, hardware):
        run("ip", "-n", "s%d" % of, "neighbour", "replace", self.address(other), "lladdr", hardware, "dev", "eth0",
            "nud", "permanent")

    def cut_one_way(self, source, target):
        """From now on packets from source to target are lost; those of the other direction arrive."""
        self._neighbour(source, target, NOWHERE)

    def cut(self, one, other):
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def heal_from(self, i):
        for other in self.numbers():
            if other != i:
                self._neighbour(i, other, self.hardware(other))

    def heal(self):
        """All links work, at full speed."""
        if self.flaky:
            self.flaky.stop()
            self.flaky = None
        for i in self.numbers():
            self.heal_from(i)
        self.fast()

    def fast(self):
        for i in self.numbers():
            run("ip", "netns", "exec", "s%d" % i, "tc", "qdisc", "del", "dev", "eth0", "root", check=False)

    def slow(self):
        """Everything that a server sends is late: by 40 ms, or by the queue of a narrow link."""
        how = ["netem", "delay", "40ms", "10ms"] if self.netem else [
            "tbf", "rate", "1mbit", "burst", "3200", "latency", "300ms"]
        for i in self.numbers():
            run("ip", "netns", "exec", "s%d" % i, "tc", "qdisc", "replace", "dev", "eth0", "root", *how)
        return " ".join(how)

    def lossy(self, seed, servers):
        """Packets between the first servers are lost: five in a hundred, or in short bursts."""
        if self.netem:
            for i in self.numbers():
                run("ip", "netns", "exec", "s%d" % i, "tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "loss", "5%")
            return "netem loss 5%"
        self.flaky = Flaky(self, seed, servers)
        self.flaky.start()
        return "bursts of loss"


class Flaky(threading.Thread):
    """Cuts one direction of a random link for a moment, again and again."""

    def __init__(self, network, seed, servers):
        super().__init__(daemon=True)
        self.network, self.servers = network, range(1, servers + 1)
        self.random, self.ending = random.Random(seed), threading.Event()

    def run(self):
        while not self.ending.wait(self.random.uniform(0.02, 0.15)):
            source, target = self.random.sample(self.servers, 2)
            self.network.cut_one_way(source, target)
            self.ending.wait(self.random.uniform(0.01, 0.12))
            self.network.heal_from(source)

    def stop(self):
        self.ending.set()
        self.join()
