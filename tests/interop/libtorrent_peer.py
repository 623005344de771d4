"""Two peers of libtorrent as programs, for test_libtorrent.py; neither speaks TCP to the other.

    libtorrent_peer.py seed FILE HOST
    libtorrent_peer.py fetch TORRENT DIRECTORY HOST PEER PEER_PORT '{"proxy_hostname": ..., ...}'

seed prints `ready TORRENT PORT`, the torrent in hexadecimal digits, and seeds until its input ends;
fetch ends when it has everything. HOST is one's own address.
"""

import json
import os
import sys
import time

import libtorrent as lt

QUIET = {"enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False}
UTP_ONLY = {"enable_incoming_tcp": False, "enable_outgoing_tcp": False}


def session(host, settings):
    here = {"listen_interfaces": f"{host}:0", "alert_mask": lt.alert.category_t.all_categories}
    return lt.session(QUIET | UTP_ONLY | here | settings)


def seed(path, host):
    files = lt.file_storage()
    lt.add_files(files, path)
    torrent = lt.create_torrent(files, 16384)
    lt.set_piece_hashes(torrent, os.path.dirname(path))
    octets = lt.bencode(torrent.generate())
    here = session(host, {})
    handle = here.add_torrent({"ti": lt.torrent_info(lt.bdecode(octets)),
                               "save_path": os.path.dirname(path)})
    while not handle.status().is_seeding:
        time.sleep(0.01)
    print("ready", octets.hex(), here.listen_port(), flush=True)
    sys.stdin.read()


def fetch(torrent, directory, host, peer, peer_port, settings):
    soon = {"min_reconnect_time": 1, "peer_connect_timeout": 5}
    here = session(host, soon | json.loads(settings))
    handle = here.add_torrent({"ti": lt.torrent_info(lt.bdecode(bytes.fromhex(torrent))),
                               "save_path": directory})
    deadline = time.monotonic() + 20
    said = []
    handle.connect_peer((peer, int(peer_port)))
    while not handle.status().is_seeding:
        said += [f"{alert.what()}: {alert.message()}" for alert in here.pop_alerts()]
        if time.monotonic() > deadline:
            sys.exit("\n".join(said))
        time.sleep(0.02)


{"seed": seed, "fetch": fetch}[sys.argv[1]](*sys.argv[2:])
