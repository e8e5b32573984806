"""The generate call: from its body to what the writer is asked for, and from what was written to its answer."""

from generation.callers import Caller
from generation.contracts import GeneratedPost, GenerateRequest, GenerateResponse, PostDelta
from generation.writing_request import PostPiece, Role, Turn, WritingRequest, WrittenPosts


def writing_request_of(request: GenerateRequest, caller: Caller) -> WritingRequest:
    """What a generate request of a caller asks for."""
    return WritingRequest(
        user_id=request.user_id,
        turns=() if request.prompt is None else (Turn(Role.USER, request.prompt),),
        system=request.system,
        n=request.n,
        candidates=request.candidates,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        strength=request.strength,
        caller=caller,
        is_fresh=True,
        exclude_posts=tuple(one.post_id for one in request.exclude if one.post_id is not None),
        exclude_texts=tuple(one.text for one in request.exclude if one.text is not None),
    )


def answer_of(written: WrittenPosts) -> GenerateResponse:
    """The whole answer. Texts have no blanks around them."""
    posts = [GeneratedPost(post_id=post.post_id, text=post.text.strip()) for post in written.posts]
    return GenerateResponse(posts=posts, personalization=written.personalization)


def delta_of(piece: PostPiece) -> PostDelta:
    """A piece of a streamed answer."""
    return PostDelta(post=piece.post, text=piece.text)
