"""Messages, their replies and marks, the mails that tell of them, comments."""

from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from mail_sink import Mailbox
from people import make_group, make_user
from wire import Api

from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("acceptance")


@dataclass(frozen=True)
class Office:
    """Three users of one group; Cid does not want mails."""

    ann: Api
    bob: Api
    cid: Api
    ids: dict[str, int]
    group: int
    unique: str

    def mail(self, name: str) -> str:
        return f"{name}-{self.unique}@example.com"

    async def write(self, sender: Api, to: str, **more: object) -> dict[str, Any]:
        body = {"subject": "Design", "message": "What do you think?", "recipients": to, **more}
        return (await sender.post("messages/rows", body)).data


@pytest_asyncio.fixture(loop_scope="session")
async def office(api: Api, unique: str) -> Office:
    group = await make_group(api, f"Office {unique}", {})
    callers: dict[str, Api] = {}
    ids: dict[str, int] = {}
    for name, wants in (("ann", 1), ("bob", 1), ("cid", 0)):
        caller, number = await make_user(
            api, f"{name}-{unique}", group, first_name=name.title(), email_messages=wants
        )
        callers[name], ids[name] = caller, number
    return Office(**callers, ids=ids, group=group, unique=unique)


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_an_empty_inbox_counts_zero(office: Office, version: str) -> None:
    if version == "1":
        assert (await office.ann.v1().get("messages/rows")).json == {
            "read": 0, "unread": 0, "total": 0, "max_id": 0, "rows": [],
        }  # fmt: skip
        return
    reply = await office.ann.get("messages/rows/")
    assert reply.data == []
    assert reply.json["meta"] == {
        "table": "directus_messages", "type": "collection", "recipient": office.ids["ann"],
        "read": 0, "unread": 0, "total": 0, "max_id": 0,
    }  # fmt: skip


def spelled(office: Office) -> list[dict[str, object]]:
    bob, cid = office.ids["bob"], office.ids["cid"]
    return [
        {"recipients": f"0_{bob},0_{cid}"},
        {"recipients": [f"0_{bob}", f"0_{cid}"]},
        {"to": [bob, cid]},
        {"to": f"{bob},{cid}"},
        {"recipients": f"0_{bob}", "to": cid},
        {"toGroup": [office.group]},
        {"recipients": f"1_{office.group}"},
    ]


@pytest.mark.parametrize("which", range(7))
async def test_recipients_are_taken_in_every_spelling(office: Office, which: int) -> None:
    ann, bob, cid = (office.ids[name] for name in ("ann", "bob", "cid"))
    body = {"subject": "Hello", "message": "all", "from": bob, **spelled(office)[which]}
    message = (await office.ann.post("messages/rows", body)).data
    assert message["recipients"] == ",".join(map(str, sorted((ann, bob, cid))))
    assert (message["from"], message["read"], message["reads"]) == (ann, 1, str(ann))
    assert message["responses"] == {"rows": [], "data": []}
    assert message["date_updated"] == message["datetime"]
    for caller, read in ((office.ann, 1), (office.bob, 0), (office.cid, 0)):
        listed = await caller.get("messages/rows")
        assert [row["id"] for row in listed.data] == [message["id"]]
        assert listed.data[0]["read"] == read
        assert listed.json["meta"]["unread"] == 1 - read
        assert listed.json["meta"]["max_id"] == message["id"]


async def test_a_form_is_taken_too(office: Office) -> None:
    form = f"subject=Hi&message=there&recipients=0_{office.ids['bob']}&attachment=1%2C2"
    message = (await office.ann.v1().post("messages/rows", form=form)).json
    assert (message["subject"], message["attachment"]) == ("Hi", "1,2")


@pytest.mark.parametrize("path", ["messages/rows", "messages"])
@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_a_message_is_its_senders_and_recipients(
    api: Api, office: Office, path: str, version: str
) -> None:
    message = await office.write(office.ann, f"0_{office.ids['bob']}")
    for caller in (office.ann, office.bob):
        asking = caller if version == "1.1" else caller.v1()
        reply = await asking.get(f"{path}/{message['id']}")
        shown = reply.json["data"] if version == "1.1" else reply.json
        assert shown["message"] == "What do you think?"
    for caller in (office.cid, api):
        reply = await caller.get(f"{path}/{message['id']}")
        assert (reply.status, reply.json["error"]["message"]) == (404, "Message not found")
        assert (await caller.put(f"{path}/{message['id']}", {"message": "x"})).status == 404
        assert (await caller.patch(f"{path}/{message['id']}")).status == 404
    assert (await office.cid.get(path)).data == []
    assert (await office.bob.get(f"{path}/{message['id']}")).data["responses"]["data"] == []


@pytest.mark.parametrize("way", ["PUT", "POST", "response_to"])
async def test_a_reply_stands_in_its_thread_and_is_unread_again(office: Office, way: str) -> None:
    message = await office.write(office.ann, f"0_{office.ids['bob']}")
    await office.ann.send("DELETE", "messages/rows/bulk", json={"rows": [{"id": message["id"]}]})
    assert (await office.ann.get("messages/self")).data == []
    if way == "response_to":
        body = {"message": "Good", "response_to": message["id"]}
        reply = await office.bob.post("messages/rows", body)
    else:
        reply = await office.bob.send(
            way, f"messages/rows/{message['id']}", json={"message": "Good"}
        )
    answer = reply.data
    assert (answer["response_to"], answer["from"]) == (message["id"], office.ids["bob"])
    assert answer["subject"] == "Re: Design"
    [thread] = (await office.ann.get("messages/self")).data
    assert thread["id"] == message["id"]
    for key in ("rows", "data"):
        [shown] = thread["responses"][key]
        assert (shown["id"], shown["message"], shown["read"]) == (answer["id"], "Good", 0)
    assert thread["date_updated"] == answer["datetime"]
    # an answer to the answer stays in the same thread
    again = await office.ann.put(f"messages/rows/{answer['id']}", {"message": "Thanks"})
    assert again.data["response_to"] == message["id"]


async def test_a_read_mark_is_each_readers_own_and_takes_the_replies_along(office: Office) -> None:
    message = await office.write(office.ann, f"0_{office.ids['bob']},0_{office.ids['cid']}")
    await office.ann.put(f"messages/rows/{message['id']}", {"message": "One more thing"})
    assert (await office.bob.get("messages/rows")).json["meta"]["unread"] == 2
    marked = (await office.bob.patch(f"messages/rows/{message['id']}", {"read": 1})).data
    assert marked["read"] == 1
    assert [answer["read"] for answer in marked["responses"]["rows"]] == [1]
    assert (await office.bob.get("messages/rows")).json["meta"]["unread"] == 0
    assert (await office.cid.get("messages/rows")).json["meta"]["unread"] == 2
    await office.bob.patch(f"messages/rows/{message['id']}", {"read": 0})
    assert (await office.bob.get("messages/rows")).json["meta"]["unread"] == 2


async def test_max_id_asks_for_threads_with_newer_unread_messages(office: Office) -> None:
    first = await office.write(office.ann, f"0_{office.ids['bob']}")
    second = await office.write(office.ann, f"0_{office.ids['bob']}")
    newer = await office.bob.get(f"messages/rows?max_id={first['id']}")
    assert [row["id"] for row in newer.data] == [second["id"]]
    none = await office.bob.get(f"messages/rows?max_id={second['id']}")
    assert none.data == []
    assert none.json["meta"]["unread"] == 2
    assert [r["id"] for r in (await office.bob.get("messages/rows?limit=1&offset=1")).data] == [
        first["id"]
    ]
    assert (await office.bob.get("messages/rows?max_id=x")).status == 400


async def test_archiving_names_what_goes_or_changes_nothing(office: Office) -> None:
    message = await office.write(office.ann, f"0_{office.ids['bob']}")
    foreign = await office.write(office.ann, f"0_{office.ids['cid']}")
    assert (await office.bob.send("DELETE", "messages/rows/bulk")).status == 400
    rows = {"rows": [{"id": message["id"]}, {"id": foreign["id"]}]}
    assert (await office.bob.send("DELETE", "messages/rows/bulk", json=rows)).status == 404
    assert len((await office.bob.get("messages/rows")).data) == 1
    reply = await office.bob.send(
        "DELETE", "messages/rows/bulk", form=f"rows[0][id]={message['id']}"
    )
    assert reply.json == {
        "meta": {"table": "directus_messages", "ids": [message["id"]]},
        "data": {"success": True},
    }
    assert (await office.bob.get("messages/rows")).data == []
    assert len((await office.ann.get("messages/rows")).data) == 2


async def test_the_inbox_of_others_is_for_those_who_may_see_all(api: Api, office: Office) -> None:
    message = await office.write(office.ann, f"0_{office.ids['bob']}")
    path = f"messages/user/{office.ids['bob']}"
    assert [row["id"] for row in (await office.bob.get(path)).data] == [message["id"]]
    assert [row["id"] for row in (await api.get(path)).data] == [message["id"]]
    assert (await office.cid.get(path)).status == 403


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"message": "x"}, 400, "recipients"),
        ({"message": "x", "recipients": "2_1"}, 400, '"2_1" is no recipient'),
        ({"message": "x", "to": "ann"}, 400, '"ann" is no recipient'),
        ({"message": "x", "to": 999999}, 404, "[999999]"),
        ({"message": "x", "toGroup": 999999}, 404, "[999999] has no active users"),
        ({"to": 1}, 400, "needs a text"),
        ({"message": "x", "to": 1, "subject": "x" * 256}, 400, "255"),
        ({"message": "x", "to": 1, "attachment": "a.jpg"}, 400, '"a.jpg"'),
        ({"message": "x", "response_to": 999999}, 404, "Message not found"),
    ],
)
async def test_a_message_that_cannot_be_is_refused(
    office: Office, body: dict[str, object], status: int, says: str
) -> None:
    reply = await office.ann.post("messages/rows", body)
    assert reply.status == status, reply.json
    assert says in reply.json["error"]["message"]
    assert (await office.ann.get("messages/rows")).json["meta"]["total"] == 0


async def test_who_wants_mail_gets_it_and_nobody_else(office: Office, mailbox: Mailbox) -> None:
    await office.write(
        office.ann, f"1_{office.group}", subject="Tea\r\nBcc: eve@example.com", message="At <five>?"
    )

    async def arrived() -> bool:
        return bool(mailbox.to(office.mail("bob")))

    await eventually(arrived, what="the mail")
    [mail] = mailbox.to(office.mail("bob"))
    assert "Tea Bcc: eve@example.com" in mail["Subject"]
    assert mail["Bcc"] is None
    text = mail.get_content()
    assert "Ann wrote to you" in text
    assert "At <five>?" in text
    assert mailbox.to(office.mail("ann")) == mailbox.to(office.mail("cid")) == []


async def test_a_mail_server_that_refuses_for_now_is_asked_again_and_delays_nobody(
    office: Office, mailbox: Mailbox
) -> None:
    mailbox.answer, before = "451 later", mailbox.asked
    try:
        await office.write(office.ann, f"0_{office.ids['bob']}")
        assert len((await office.bob.get("messages/rows")).data) == 1

        async def refused() -> bool:
            return mailbox.asked > before

        await eventually(refused, what="the first attempt")
    finally:
        mailbox.answer = "250 taken"

    async def arrived() -> bool:
        return len(mailbox.to(office.mail("bob"))) == 1

    await eventually(arrived, within=15, what="the second attempt")


async def test_recipients_are_found_as_far_as_they_may_be_seen(
    api: Api, office: Office, unique: str
) -> None:
    found = (await api.get(f"messages/recipients?q={unique}")).json
    assert {"id": f"0_{office.ids['ann']}", "type": 0, "name": "Ann"} in found
    assert {"id": f"1_{office.group}", "type": 1, "name": f"Office {unique}"} in found
    assert (await api.get("messages/recipients?q=%25nobody")).json == []
    # this group may see its members' own records only
    own = (await office.ann.get(f"messages/recipients?q={unique}")).json
    assert [entry["id"] for entry in own] == [f"0_{office.ids['ann']}"]


async def test_a_comment_reaches_who_it_mentions(
    api: Api, office: Office, mailbox: Mailbox, unique: str
) -> None:
    table = await api.make_table(f"talk_{unique}")
    body = {
        "comment_metadata": f"{table}:1",
        "message": f"Look, @[0_{office.ids['bob']} Bob]!",
        "subject": "A comment",
    }
    comment = (await api.post("comments", body)).data
    assert comment["comment_metadata"] == f"{table}:1"
    [received] = (await office.bob.get("messages/rows")).data
    assert received["id"] == comment["id"]

    async def arrived() -> bool:
        return bool(mailbox.to(office.mail("bob")))

    await eventually(arrived, what="the mail")
    assert (await office.ann.post("comments", body)).status == 403
    silent = (await api.v1().post("comments", {**body, "message": "To whom it concerns"})).json
    assert silent["recipients"] == ""
    assert (await api.post("comments", {"message": "x"})).status == 400


async def test_the_activity_calls_an_answer_a_reply(api: Api, office: Office) -> None:
    message = await office.write(api, f"0_{office.ids['ann']}")
    answer = (await api.put(f"messages/rows/{message['id']}", {"message": "And?"})).data
    entries = (await api.get("activity?filters[table_name]=directus_messages&limit=2")).data
    assert [(entry["row_id"], entry["action"], entry["type"]) for entry in entries] == [
        (answer["id"], "REPLY", "MESSAGE"),
        (message["id"], "ADD", "MESSAGE"),
    ]


FAULTS = [
    ("GET", "messages/rows/999999", None, 404, "Message not found"),
    ("POST", "messages/rows", {"message": "x", "recipients": "9_1"}, 400, '"9_1" is no recipient'),
    ("GET", "messages/rows?limit=x", None, 400, "limit must be a whole number from 0 on"),
    ("DELETE", "bookmarks/999999", None, 404, "bookmark_not_found"),
    ("PUT", "tables/directus_users/preferences", {"sort_order": "UP"}, 400, 'not "UP"'),
    ("GET", "tables/nowhere/preferences", None, 404, '"nowhere"'),
    ("POST", "hash", {}, 409, "Hash expect a string"),
    ("POST", "random", {"length": 0}, 400, "1 to 500"),
    ("POST", "groups", {"name": "Administrator"}, 409, '"Administrator" already exists'),
    ("GET", "tables/directus_users/columns/email/slider", None, 404, "[slider]"),
    ("POST", "users/invite", {"email": "nobody"}, 422, "no e-mail address"),
    ("PUT", "privileges/1/999999", {"allow_view": 1}, 404, "[999999]"),
    ("GET", "custom/nobody/knows", None, 404, "/custom/nobody/knows"),
    ("POST", "comments", {"message": "x"}, 400, "comment_metadata"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault[0]} {fault[1]}")
@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_every_fault_is_a_problem_for_who_asks_for_problems(
    api: Api, fault: tuple[str, str, object, int, str], version: str
) -> None:
    method, path, body, status, says = fault
    caller = api if version == "1.1" else api.v1()
    accept = {"Accept": "application/problem+json"}
    reply = await caller.send(method, path, json=body, headers=accept)
    assert reply.status == status
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert says in reply.json["detail"]
    assert reply.json["status"] == status
    assert reply.json["code"]
    assert reply.json["request_id"] == reply.headers["X-Request-Id"]
