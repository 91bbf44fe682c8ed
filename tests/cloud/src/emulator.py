"""Starts ministack with two corrections.

Its CompleteMultipartUpload knows checksums over the parts' checksums only. S3 has them over the whole
object too, and of CRC-64/NVME no other. Here such a one is believed, and kept for the object's readers.

Its GetObject sends the whole object when a Range comes with a versionId. S3 sends the range, and
the agent pins the version of every range that it asks for. Where ministack sends a range by itself
this changes nothing.
"""

from ministack.services import s3

whole = s3._get_object


def get_object(bucket, key, headers, query=None):
    status, answer, body = whole(bucket, key, headers, query)
    wanted = headers.get("range", "")
    if status != 200 or not wanted:
        return status, answer, body
    found = s3._parse_range(wanted, len(body))
    if found is None:
        return 416, {"Content-Range": f"bytes */{len(body)}"}, b""
    start, end = found
    part = body[start : end + 1]
    # Checksums are of the whole object, and say nothing about a part.
    answer = {k: v for k, v in answer.items() if not k.lower().startswith("x-amz-checksum-")}
    answer["Content-Length"] = str(len(part))
    answer["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
    return 206, answer, part


s3._get_object = get_object

complete = s3._complete_multipart_upload


def complete_multipart_upload(bucket, key, body, query, headers=None):
    headers = dict(headers or {})
    if headers.get("x-amz-checksum-type") != "FULL_OBJECT":
        return complete(bucket, key, body, query, headers)
    checksum = headers.pop("x-amz-checksum-crc64nvme", None)
    answer = complete(bucket, key, body, query, headers)
    stored = s3._ensure_bucket(bucket)["objects"].get(key)
    if answer[0] == 200 and stored is not None:
        stored["checksums"] = {"CRC64NVME": checksum} if checksum else {}
        stored["checksum_type"] = "FULL_OBJECT"
    return answer


s3._complete_multipart_upload = complete_multipart_upload

if __name__ == "__main__":
    from ministack.app import main

    main()
