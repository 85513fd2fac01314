"""What servers show of themselves, in forms that can be compared: lines, names, members of JSON, series of Prometheus."""
import re
import urllib.error
import urllib.request

PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"


def masked(text):
    """The lines of a text, sorted, with every number and date masked."""
    lines = []
    for line in text.splitlines():
        # How sessions and connections fall into expiry buckets is a matter of milliseconds.
        if re.search(r"expire at|Sets \(", line):
            continue
        line = re.sub(r"version: .*|zk_version\t.*", "VERSION", line)
        line = re.sub(r"(ip|address)\": ?\"/?[\d.:]+", r"\1", line)
        line = re.sub(r"/[^\s\"]*/(data|version-2)\b\S*", "DIR", line)
        line = re.sub(r"lop=\w+", "lop=OP", line)
        line = re.sub(r"-?\b0x[0-9a-f]+|-?\b\d+(\.\d+)?(E-?\d+)?|NaN", "N", line)
        lines.append(line)
    return sorted(lines)


def missing(want, got):
    """What is in a sorted list and not in another, counting repetitions."""
    left = list(got)
    lost = []
    for item in want:
        if item in left:
            left.remove(item)
        else:
            lost.append(item)
    return lost, left


def without_jvm(names):
    """Names of the JVM and its threads: a native server has none."""
    return {name for name in names if not re.match(r"(zk_)?(jvm_|process_)", name)}


def shape(value, at=""):
    """The members of a JSON value with their types; a list is the shape of its first element."""
    if isinstance(value, dict):
        # Keys that are session ids, or paths, or times.
        return {re.sub(r"^-?\d+$", "N", key): shape(member) for key, member in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def http(port, path):
    try:
        with urllib.request.urlopen("http://127.0.0.1:%d%s" % (port, path), timeout=10) as answer:
            return answer.status, answer.headers.get("Content-Type"), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Content-Type"), error.read().decode()


def series(page):
    """name -> (type, label names) and name -> value of the series without labels."""
    kinds, labels, values = {}, {}, {}
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif line and not line.startswith("#"):
            name, inside, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
            names = tuple(re.findall(r'(\w+)="', inside or ""))
            labels.setdefault(name, set()).add(names)
            if not names:
                values[name] = float(value)
    return kinds, labels, values
